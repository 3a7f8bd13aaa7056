/**
 * How a machine becomes one more manager of the cluster: a one-time token, made by an administrator, for which the leader hands
 * over what a manager has: the key of the cluster's authority, where the inventory is, and a token for the API. The same machine
 * may ask again with it (a lost answer); nobody else may.
 */
import { isoTime } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import { formatManagerToken, readManagerToken } from '../../contracts/join-token.ts'
import type { JoinManagerRequest, JoinManagerResponse, StorePlace } from '../../contracts/manager-join.ts'
import type { ReplyOf } from '../../contracts/routes.ts'
import type { SecretRecord } from '../store/records.ts'
import type { Access } from './access.ts'
import type { AppContext } from './context.ts'
import { managerTokenName, type Managers } from './managers.ts'
import { hashOf, newSecret } from './secrets.ts'
import { newEvent, write } from './write.ts'

export interface HandOver {
  /** The certificate of the cluster's authority, and its key: whoever has it is the cluster. */
  readonly authority: () => Promise<{ readonly ca: string; readonly key: string }>
  /** Undefined where the inventory is one that a single manager can have. */
  readonly store: () => Promise<StorePlace | undefined>
}

const defaultManagerTokenMinutes = 15

export class ManagerJoins {
  readonly #context: AppContext
  readonly #parts: { readonly access: Access; readonly managers: Managers; readonly handOver: HandOver | undefined }

  constructor(
    context: AppContext,
    parts: { readonly access: Access; readonly managers: Managers; readonly handOver: HandOver | undefined },
  ) {
    this.#context = context
    this.#parts = parts
  }

  /** Throws `wrong-state` where the inventory has room for one manager only. */
  async createToken(
    validMinutes = defaultManagerTokenMinutes,
    caller = 'the console',
  ): Promise<ReplyOf<'createManagerToken'>> {
    const { handOver } = await this.#mustShare()
    const { store, clock, random } = this.#context
    const secret = newSecret(random)
    const expires = isoTime(clock.now() + validMinutes * 60_000)
    const record: SecretRecord = {
      ...{ id: hashOf(secret), v: 1, kind: 'manager', role: 'administrator', expires },
      ...{ usedBy: null, madeBy: caller },
    }
    const message = `A token for one more manager was made by ${caller}: it opens the cluster's authority`
    await write(store, async () => ({
      changes: [{ do: 'create', kind: 'secret', value: record }],
      events: [newEvent('manager.join-token', null, message, { by: caller })],
      value: undefined,
    }))
    const { ca } = await handOver.authority()
    return { token: formatManagerToken({ secret, ca }), expires }
  }

  /** Throws `not-allowed` for a token that is unknown, too old, or used by another machine; `name-taken` for a name that is taken. */
  async join(request: JoinManagerRequest): Promise<JoinManagerResponse> {
    const { handOver, place } = await this.#mustShare()
    this.#mustBeFree(request)
    await this.#use(request)
    const cluster = this.#context.mirror.list('cluster')[0]
    if (cluster === undefined) throw new HoldfastError('internal', 'the inventory has no cluster')
    const { ca, key } = await handOver.authority()
    const token = await this.#apiToken(request.uuid)
    return {
      ...{ cluster: cluster.uuid, clusterName: cluster.name, ca, caKey: key, store: place, token },
      managers: this.#parts.managers.urls(),
    }
  }

  async #mustShare(): Promise<{ handOver: HandOver; place: StorePlace }> {
    const { handOver } = this.#parts
    const place = await handOver?.store()
    if (handOver !== undefined && place !== undefined) return { handOver, place }
    throw new HoldfastError('wrong-state', "this cluster's inventory is in SQLite, which one manager alone can have", {
      mend: 'Move it to etcd first: holdfast manager migrate-store --to etcd://…',
    })
  }

  /** People and commands tell managers from one another by name. */
  #mustBeFree({ name, uuid }: JoinManagerRequest): void {
    const taken = this.#context.mirror.list('manager').some((other) => other.name === name && other.uuid !== uuid)
    if (!taken) return
    throw new HoldfastError('name-taken', `there is a manager called ${name} already`, {
      mend: `Give another name (--manager-name); or, if that one is gone for ever: holdfast manager remove ${name}`,
    })
  }

  async #use({ token, uuid, name }: JoinManagerRequest): Promise<void> {
    const { store, clock } = this.#context
    const id = hashOf(readManagerToken(token)?.secret ?? token)
    await write(store, async () => {
      const found = await store.get('secret', id)
      const isOurs = found?.value.kind === 'manager'
      const isTimely = isOurs && Date.parse(found.value.expires) > clock.now()
      const isFree = isOurs && (found.value.usedBy === null || found.value.usedBy === uuid)
      if (!isTimely || !isFree) {
        const why = isOurs ? (isTimely ? 'used already' : 'too old') : 'unknown'
        throw new HoldfastError('not-allowed', `the token for a manager is ${why}`, {
          mend: 'Make a new one with `holdfast manager token --manager`; each works once.',
        })
      }
      if (found.value.usedBy === uuid) return { changes: [], value: undefined }
      const message = `${name} has taken the key of the cluster's authority, to be a manager`
      return {
        changes: [{ do: 'update', kind: 'secret', value: { ...found.value, usedBy: uuid }, expected: found.revision }],
        events: [newEvent('manager.joined', null, message, { name, uuid, madeBy: found.value.madeBy })],
        value: undefined,
      }
    })
  }

  /** One from a join whose answer was lost is worthless: nobody has its secret. */
  async #apiToken(manager: string): Promise<string> {
    const { access } = this.#parts
    const name = managerTokenName(manager)
    await access.revokeNamed(name, 'manager join')
    return (await access.createToken({ name, role: 'administrator' }, 'manager join')).secret
  }
}
