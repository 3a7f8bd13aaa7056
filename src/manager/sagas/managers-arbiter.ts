/**
 * The managers' own store as the arbiter of VMs for which there is no third host: registers kept by compare-and-set, so that
 * of several managers, too, the first answer that was durable is the only one.
 *
 * The life of this memory is the cluster's and the store's incarnation: a store that was restored from a backup may have
 * forgotten what it had answered, so registers of an earlier life are `unknown`.
 */
import { HoldfastError } from '../../base/errors.ts'
import type { VmId } from '../../base/ids.ts'
import { claimed, looked, opened, superseded, type Decided } from '../../contracts/protection-register.ts'
import {
  managersArbiter as managers,
  type ArbiterApi,
  type ProtectionConfig,
  type RegisterAnswer,
  type RegisterRecord,
} from '../../contracts/protection.ts'
import type { RegisterStored } from '../store/records.ts'
import type { Change, Store, Stored } from '../store/store.ts'

type StoreOf = Pick<Store, 'get' | 'list' | 'commit'>

interface Held {
  readonly stored: Stored<RegisterStored> | undefined
  /** Undefined where nothing is remembered, or only by a life that is over. */
  readonly register: RegisterRecord | undefined
  readonly life: string
}

const maxRaces = 20

export interface ManagersArbiter extends ArbiterApi {
  /** The newest configuration that is known of a VM. */
  newest(vm: VmId): Promise<ProtectionConfig | undefined>
}

export function managersArbiter(store: StoreOf): ManagersArbiter {
  return {
    newest: async (vm) => (await heldOf(store, vm)).register?.config,
    arbiterLife: async () => ({ life: await lifeOf(store) }),
    arbiterOpen: ({ config, life }) => open(store, config, life),
    arbiterClaim: ({ vm, n, side }) => decide(store, vm, (held) => claimed(held, n, side)),
    arbiterLook: ({ vm, n, side }) => decide(store, vm, (held) => ({ answer: looked(held, n, side), record: null })),
    arbiterSupersede: ({ vm, n, next }) => decide(store, vm, (held) => superseded(held, n, next)),
  }
}

async function lifeOf(store: StoreOf): Promise<string> {
  const cluster = (await store.list('cluster')).items[0]?.value
  if (cluster === undefined) throw new HoldfastError('internal', 'the inventory has no cluster')
  return `${cluster.uuid}/${cluster.incarnation}`
}

async function heldOf(store: StoreOf, vm: VmId): Promise<Held> {
  const life = await lifeOf(store)
  const stored = await store.get('register', vm)
  return { stored, life, register: stored?.value.life === life ? stored.value.register : undefined }
}

async function open(store: StoreOf, config: ProtectionConfig, life: string): Promise<void> {
  if (config.arbiter !== managers)
    throw new HoldfastError('refused', `${config.arbiter} decides in that configuration, not the managers`)
  await racing(config.vm, async () => {
    const held = await heldOf(store, config.vm)
    if (life !== held.life) {
      throw new HoldfastError(
        'refused',
        `the managers have lost their memory since they were chosen for ${config.vm}`,
        {
          mend: 'Protect the VM anew.',
        },
      )
    }
    const record = opened(held.register, config)
    if (record === undefined) {
      const newest = held.register?.config.n ?? null
      const message = `configuration ${config.n} of ${config.vm} is older than what is decided here`
      throw new HoldfastError('refused', message, { newest })
    }
    if (record === held.register) return true
    // Of a VM that is no more nothing is kept: nobody would ever forget it.
    if ((await store.get('vm', config.vm)) === undefined) {
      throw new HoldfastError('not-found', `There is no VM ${config.vm}`)
    }
    return keep(store, held, record)
  })
}

/** The answer leaves only after what it rests on is durable. Throws `unreachable` while that is not known. */
async function decide(
  store: StoreOf,
  vm: VmId,
  by: (held: RegisterRecord | undefined) => Decided,
): Promise<RegisterAnswer> {
  let answer: RegisterAnswer = { is: 'unknown' }
  await racing(vm, async () => {
    const held = await heldOf(store, vm)
    const decided = by(held.register)
    answer = decided.answer
    return decided.record === null || (await keep(store, held, decided.record))
  })
  return answer
}

/** False: another writer was faster. */
async function keep(store: StoreOf, { stored, life }: Held, register: RegisterRecord): Promise<boolean> {
  const value: RegisterStored = { id: register.config.vm, v: 1, life, register }
  const change: Change =
    stored === undefined
      ? { do: 'create', kind: 'register', value }
      : { do: 'update', kind: 'register', value, expected: stored.revision }
  return (await store.commit({ changes: [change], events: [] })).ok
}

async function racing(vm: VmId, attempt: () => Promise<boolean>): Promise<void> {
  for (let race = 0; race < maxRaces; race++) if (await attempt()) return
  throw new HoldfastError('unreachable', `others kept changing the register of ${vm}; nothing was answered`)
}
