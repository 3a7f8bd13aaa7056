/** Hosts: lists, maintenance, the word of a person that one is off, and its removal. */
import { HoldfastError } from '../../base/errors.ts'
import type { HostId, TaskId } from '../../base/ids.ts'
import type { Host } from '../../contracts/inventory.ts'
import type { CallOf } from '../../contracts/routes.ts'
import { admissionProblem, withoutHost } from '../domain/admission.ts'
import { nameClaim } from '../domain/names.ts'
import type { SagaEngine } from '../sagas/engine.ts'
import { beginOperation } from '../sagas/operation.ts'
import { maintenanceOperation } from '../sagas/vm-operations.ts'
import type { HostRecord } from '../store/records.ts'
import type { Change } from '../store/store.ts'
import { vmSnapshots } from './cluster-snapshot.ts'
import { hasRole, type AppContext, type Caller } from './context.ts'
import { namedPageOf, type PageOf } from './pages.ts'
import { hostView, vmCountOf } from './views/host-view.ts'
import { need, newEvent, notFound, subjectOf, unclaim, write } from './write.ts'

export class Hosts {
  readonly #context: AppContext
  readonly #engine: SagaEngine

  constructor(context: AppContext, engine: SagaEngine) {
    this.#context = context
    this.#engine = engine
  }

  async list(query: CallOf<'listHosts'>['query'] = {}): Promise<PageOf<Host>> {
    const mirror = await this.#context.mirror.fresh()
    const world = { registry: this.#context.registry, mirror, vms: vmSnapshots(mirror) }
    const page = namedPageOf(mirror.list('host'), query)
    const items = page.items.map((host) => hostView(host, mirror.revisionOf('host', host.id), world))
    return { items, next: page.next, revision: mirror.revision }
  }

  async get(id: string): Promise<Host> {
    const mirror = await this.#context.mirror.fresh()
    const stored = mirror.stored('host', id)
    if (stored === undefined) throw notFound('host', id)
    const world = { registry: this.#context.registry, mirror, vms: vmSnapshots(mirror) }
    return hostView(stored.value, stored.revision, world)
  }

  /**
   * Begins to empty a host. Throws `wrong-state` when it is in maintenance already, and `no-capacity` when the room that
   * admission control keeps would be gone, unless an administrator says to do it all the same.
   */
  async enterMaintenance(id: string, isForced: boolean, caller: Caller): Promise<TaskId> {
    const { store } = this.#context
    if (isForced && !hasRole(caller.role, 'administrator')) {
      throw new HoldfastError('not-allowed', 'only an administrator may go over admission control')
    }
    if (!isForced) await this.#mustKeepRoom(id)
    return beginOperation(this.#engine, caller, async () => maintenanceOperation(await need(store, 'host', id)))
  }

  async #mustKeepRoom(id: string): Promise<void> {
    const cluster = await this.#context.cluster()
    const { admission } = cluster
    const host = cluster.hosts.find((each) => each.id === id)
    if (admission === undefined || admission.policy === 'off' || host?.maintenance !== 'off') return
    const problem = admissionProblem(withoutHost(cluster, host.id), admission)
    if (problem === undefined) return
    throw new HoldfastError('no-capacity', `without ${host.name}, ${problem}`, {
      mend: 'Stop some VMs or add a host; an administrator may go on all the same: --force.',
    })
  }

  async leaveMaintenance(id: string, caller: Caller): Promise<Host> {
    const { store, registry } = this.#context
    await write(store, async () => {
      const { value, revision } = await need(store, 'host', id)
      if (value.maintenance === 'off') return { changes: [], value: undefined }
      if (registry.report(value.id)?.upgrade?.state === 'running') {
        throw new HoldfastError('wrong-state', `${value.name} is being renewed: its upgrade program runs`, {
          mend: 'Wait until it has ended (holdfast cluster upgrade --status), or end it on the host.',
        })
      }
      const next: HostRecord = { ...value, maintenance: 'off' }
      const message = `${value.name} takes VMs again`
      return {
        changes: [{ do: 'update', kind: 'host', value: next, expected: revision }],
        events: [newEvent('host.maintenance-left', subjectOf('host', value), message, { by: caller.name })],
        value: undefined,
      }
    })
    return this.get(id)
  }

  /**
   * A person's word that a host is off, on which its VMs may be started elsewhere. Refused with `wrong-state` while the
   * host reports: then it is not off.
   */
  async confirmOff(id: string, caller: Caller): Promise<Host> {
    const { store, registry } = this.#context
    await write(store, async () => {
      const { value, revision } = await need(store, 'host', id)
      if (registry.isConnected(value.id)) {
        throw new HoldfastError('wrong-state', `${value.name} is not off: it reported a moment ago`, {
          mend: 'Power it off first, and wait until it is shown as unreachable.',
        })
      }
      if (value.confirmedOff) return { changes: [], value: undefined }
      const next: HostRecord = { ...value, confirmedOff: true }
      const message = `${caller.name} confirmed that ${value.name} is off`
      return {
        changes: [{ do: 'update', kind: 'host', value: next, expected: revision }],
        events: [newEvent('host.confirmed-off', subjectOf('host', value), message, { by: caller.name })],
        value: undefined,
      }
    })
    return this.get(id)
  }

  /** Forgets a host. Refused with `wrong-state` while VMs run, move or start there, or datastores are only there. */
  async remove(id: string, caller: Caller): Promise<null> {
    const { store, registry } = this.#context
    await write(store, async () => {
      const { value, revision } = await need(store, 'host', id)
      await this.#mustBeFree(value)
      return {
        changes: [
          { do: 'remove', kind: 'host', id, expected: revision },
          ...(await this.#promiseGone(id)),
          ...(await unclaim(store, nameClaim('host', value.cluster, value.name), id)),
        ],
        events: [newEvent('host.removed', subjectOf('host', value), `${value.name} was removed`, { by: caller.name })],
        value: undefined,
      }
    })
    registry.forget(id as HostId)
    return null
  }

  async #promiseGone(id: string): Promise<Change[]> {
    const promise = await this.#context.store.get('promise', id)
    return promise === undefined ? [] : [{ do: 'remove', kind: 'promise', id, expected: promise.revision }]
  }

  async #mustBeFree(record: HostRecord): Promise<void> {
    const mirror = await this.#context.mirror.fresh()
    const count = vmCountOf(vmSnapshots(mirror), record.id)
    if (count > 0) {
      throw new HoldfastError('wrong-state', `${record.name} still has ${count} VM${count === 1 ? '' : 's'}`, {
        mend: `Put it into maintenance first, which moves them away.`,
      })
    }
    const decides = mirror.list('run').filter(({ run }) => run.protection?.arbiter === record.id)
    if (decides.length > 0) {
      const names = decides.map(({ id }) => mirror.get('vm', id)?.name ?? id).join(', ')
      throw new HoldfastError('wrong-state', `${record.name} decides who goes on with protected VMs: ${names}`, {
        mend: 'Put it into maintenance first: then another decides. If it is off, confirm that, and another does within seconds.',
      })
    }
    const only = mirror.list('datastore').filter((each) => each.hosts.length === 1 && each.hosts[0] === record.id)
    if (only.length > 0) {
      const names = only.map((each) => each.name).join(', ')
      throw new HoldfastError('wrong-state', `datastores that are only on ${record.name} are still there: ${names}`, {
        mend: 'Remove them first.',
      })
    }
  }
}
