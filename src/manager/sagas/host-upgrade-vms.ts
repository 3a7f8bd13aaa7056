/** The VMs of a host that is renewed: where they went, their way back, and the pairs that are to be in step again. */
import { HoldfastError, toHoldfastError } from '../../base/errors.ts'
import type { HostId, TaskId, VmId } from '../../base/ids.ts'
import type { VmView } from '../domain/cluster-view.ts'
import { isBetweenVersions } from '../domain/protect-plan.ts'
import { isBeforeFirstWords } from './first-words.ts'
import type { SagaDeps } from './deps.ts'
import type { HostUpgradeDeps, HostUpgradeParams } from './host-upgrade-deps.ts'
import type { StepContext } from './saga.ts'

/** A VM as the roll has left it. Any generation but this says that somebody has done something with it since. */
export interface WentTo {
  readonly vm: VmId
  readonly host: HostId
  readonly generation: number
}

export interface Stayed {
  readonly vm: VmId
  readonly name: string
  readonly reason: string
}

type Context = Pick<
  StepContext<HostUpgradeParams, unknown, HostUpgradeDeps>,
  'params' | 'deps' | 'signal' | 'progress' | 'task'
>

const returnsAtATime = 2
const mostLooks = 5
const lookAgainMs = 1000

export async function whereTheyWent(
  { store }: Pick<SagaDeps, 'store'>,
  vms: readonly VmId[],
  from: HostId,
): Promise<WentTo[]> {
  const went: WentTo[] = []
  for (const vm of vms) {
    const run = (await store.get('run', vm))?.value.run
    if (run?.phase !== 'running' || run.host === null || run.host === from) continue
    went.push({ vm, host: run.host, generation: run.generation })
  }
  return went
}

/** Moves them back, those that are as the roll has left them. One that cannot be moved stays, and why is said. */
export async function returnVms(
  context: Context,
  went: readonly WentTo[],
): Promise<{ back: number; stayed: readonly Stayed[] }> {
  await awaitFirstWords(context)
  const stayed: Stayed[] = []
  const left = [...went]
  let back = 0
  const work = async (): Promise<void> => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      context.signal.throwIfAborted()
      const reason = await returnVm(context, next)
      if (reason === undefined) back += 1
      else stayed.push({ vm: next.vm, name: await nameOf(context, next.vm), reason })
      context.progress((back + stayed.length) / went.length, { phase: `VMs move back (${back} of ${went.length})` })
    }
  }
  await Promise.all(Array.from({ length: returnsAtATime }, work))
  return { back, stayed: stayed.sort((a, b) => a.name.localeCompare(b.name)) }
}

/** Before that no VM could be said to have no way back. */
async function awaitFirstWords({ deps, signal }: Context): Promise<void> {
  while (isBeforeFirstWords(deps.hosts, await deps.cluster())) {
    signal.throwIfAborted()
    await deps.clock.sleep(lookAgainMs, signal).catch(() => undefined)
  }
}

async function nameOf({ deps }: Context, vm: VmId): Promise<string> {
  return (await deps.store.get('vm', vm))?.value.name ?? vm
}

/** Undefined: it is back. Else why it stays where it is. */
async function returnVm(context: Context, went: WentTo): Promise<string | undefined> {
  const { deps, params, task, signal } = context
  let failed = 'others keep working on it'
  for (let look = 0; look < mostLooks; look++) {
    const [vm, run] = [await deps.store.get('vm', went.vm), await deps.store.get('run', went.vm)]
    if (vm === undefined || run === undefined) return 'it was deleted'
    if (vm.value.operation !== null) {
      await endOf(context, vm.value.operation)
      continue
    }
    const { phase, host, generation, protection } = run.value.run
    if (phase === 'running' && host === params.host) return undefined
    if (phase !== 'running') return `it is ${phase}`
    const isAlone = !protection && isBetweenVersions(await deps.cluster(), went.vm)
    if ((protection || vm.value.protection?.isWanted === true) && !isAlone) return 'it is protected where it is'
    if (host !== went.host || generation !== went.generation) return look === 0 ? 'somebody has moved it' : failed
    try {
      const move = await deps.moveTo(went.vm, params.host, `upgrade (${task})`)
      const ended = await deps.operations.ended(move, signal).catch(async (thrown: unknown) => {
        if (signal.aborted) await deps.operations.cancel(move).catch(() => undefined)
        throw thrown
      })
      if (ended.ended === null) continue
      if (ended.state === 'done') return undefined
      failed = ended.problem?.detail ?? `its move ended as ${ended.state}`
      return failed
    } catch (thrown) {
      signal.throwIfAborted()
      const error = toHoldfastError(thrown)
      if (error.isUnknown) throw error
      if (error.code !== 'operation-in-progress') return error.message
    }
  }
  return failed
}

/** A task that nobody runs yet, since this manager has just begun, is looked at again a moment later. */
async function endOf({ deps, signal }: Context, task: TaskId): Promise<void> {
  await deps.clock.sleep(lookAgainMs, signal).catch(() => undefined)
  await deps.operations.ended(task, signal).catch((thrown: unknown) => {
    signal.throwIfAborted()
    const error = toHoldfastError(thrown)
    if (error.code !== 'not-found') throw error
  })
}

/** VMs that are in step on two hosts. */
export function protectedVms(vms: readonly VmView[]): VmId[] {
  return vms.filter(({ run }) => run.protection?.phase === 'protected').map(({ id }) => id)
}

/**
 * Resolves when each of these that should be is in step again, or cannot be before other hosts are renewed: their names. Throws which are not when
 * the time is over.
 */
export async function awaitInStep(context: Context, vms: readonly VmId[]): Promise<{ alone: readonly string[] }> {
  const { deps, params, signal, progress } = context
  const until = deps.clock.monotonic() + params.timeoutSeconds * 1000
  for (;;) {
    signal.throwIfAborted()
    const { out, alone } = await outOfStep(context, vms)
    if (out.length === 0) return { alone }
    progress(1 - out.length / vms.length, { phase: `until they are in step again: ${out.join(', ')}` })
    if (deps.clock.monotonic() > until) {
      throw new HoldfastError('host-error', `the host is renewed, but VMs are not in step again: ${out.join(', ')}`, {
        mend: 'See `holdfast vm show` for why; when they are protected again, go on with the other hosts (--host).',
      })
    }
    await deps.clock.sleep(lookAgainMs, signal).catch(() => undefined)
  }
}

async function outOfStep({ deps }: Context, vms: readonly VmId[]): Promise<{ out: string[]; alone: string[] }> {
  const [out, alone]: [string[], string[]] = [[], []]
  const cluster = await deps.cluster()
  const runOf = new Map(cluster.vms.map((vm) => [vm.id, vm.run]))
  for (const id of vms) {
    const run = runOf.get(id)
    if (run === undefined || run.phase === 'stopped' || run.protection?.phase === 'protected') continue
    const vm = (await deps.store.get('vm', id))?.value
    if (vm?.protection?.isWanted !== true) continue
    if (!run.protection && isBetweenVersions(cluster, id)) alone.push(vm.name)
    else out.push(vm.name)
  }
  return { out, alone }
}
