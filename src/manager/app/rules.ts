/** Rules of placement: which VMs belong together, apart, or on which hosts. */
import { isoTime } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { RuleId } from '../../base/ids.ts'
import type { CreateRule, Rule } from '../../contracts/restart.ts'
import type { CallOf } from '../../contracts/routes.ts'
import type { ClusterView } from '../domain/cluster-view.ts'
import { nameClaim, nameProblem } from '../domain/names.ts'
import { ruleContradiction, ruleWarnings } from '../domain/rule-check.ts'
import type { RuleRecord } from '../store/records.ts'
import type { AppContext, Caller } from './context.ts'
import { namedPageOf, type PageOf } from './pages.ts'
import { resolve } from './references.ts'
import { claim, need, newEvent, notFound, pledged, subjectOf, unclaim, write } from './write.ts'

export class Rules {
  readonly #context: AppContext

  constructor(context: AppContext) {
    this.#context = context
  }

  async list(query: CallOf<'listRules'>['query'] = {}): Promise<PageOf<Rule>> {
    const mirror = await this.#context.mirror.fresh()
    // One for all: it reads the whole inventory.
    const cluster = await this.#context.cluster()
    const page = namedPageOf(mirror.list('rule'), query)
    return { items: page.items.map((each) => this.#view(each, cluster)), next: page.next, revision: mirror.revision }
  }

  /** Throws `refused` for a rule that contradicts others, `name-taken`, `not-found`, `invalid-request`. */
  async create(body: CreateRule, caller: Caller): Promise<Rule> {
    const problem = nameProblem(body.name)
    if (problem !== undefined) throw new HoldfastError('invalid-request', problem, { field: 'name' })
    const { store } = this.#context
    const id = (await store.nextId('rule')) as RuleId
    await write(store, async () => {
      const record = await this.#recordOf(id, body)
      const key = nameClaim('rule', record.cluster, record.name)
      const taken = (): HoldfastError =>
        new HoldfastError('name-taken', `there is a rule ${record.name} already`, { mend: 'Choose another name.' })
      return {
        changes: [
          await claim(store, key, id, taken),
          { do: 'create', kind: 'rule', value: record },
          ...pledged(caller, { kind: 'rule', id }),
        ],
        events: [
          newEvent('rule.created', subjectOf('rule', record), `The rule ${record.name} was added`, { by: caller.name }),
        ],
        value: undefined,
      }
    })
    return this.get(id)
  }

  async get(id: string): Promise<Rule> {
    const mirror = await this.#context.mirror.fresh()
    const record = mirror.get('rule', id)
    if (record === undefined) throw notFound('rule', id)
    return this.#view(record, await this.#context.cluster())
  }

  async remove(id: string, caller: Caller): Promise<null> {
    const { store } = this.#context
    return write(store, async () => {
      const { value, revision } = await need(store, 'rule', id)
      return {
        changes: [
          { do: 'remove', kind: 'rule', id, expected: revision },
          ...(await unclaim(store, nameClaim('rule', value.cluster, value.name), id)),
        ],
        events: [
          newEvent('rule.removed', subjectOf('rule', value), `The rule ${value.name} was removed`, { by: caller.name }),
        ],
        value: null,
      }
    })
  }

  async #recordOf(id: RuleId, body: CreateRule): Promise<RuleRecord> {
    const { mirror, random, clock } = this.#context
    const view = await this.#context.cluster()
    const cluster = mirror.list('cluster')[0]
    if (cluster === undefined) throw new HoldfastError('internal', 'the inventory has no cluster')
    const record: RuleRecord = {
      ...{ id, uuid: random.uuid(), name: body.name, created: isoTime(clock.now()), v: 1, cluster: cluster.id },
      ...{ kind: body.kind, strength: body.strength ?? 'must' },
      vms: [...new Set(body.vms.map((ref) => resolve('VM', mirror.list('vm'), ref).id))],
      hosts: [...new Set((body.hosts ?? []).map((ref) => resolve('host', mirror.list('host'), ref).id))],
    }
    const contradiction = ruleContradiction(view, record)
    if (contradiction === undefined) return record
    throw new HoldfastError('refused', contradiction, { mend: '`holdfast rule list` shows the rules that there are.' })
  }

  #view(record: RuleRecord, view: ClusterView): Rule {
    const { mirror } = this.#context
    const { id, uuid, name, created, cluster, kind, strength } = record
    return {
      ...{ id, uuid, name, created, cluster, kind, strength, revision: mirror.revisionOf('rule', id) },
      // What is no more is named no more.
      vms: record.vms.flatMap((vm) => mirror.get('vm', vm) ?? []).map((vm) => ({ id: vm.id, name: vm.name })),
      hosts: record.hosts
        .flatMap((host) => mirror.get('host', host) ?? [])
        .map((host) => ({ id: host.id, name: host.name })),
      warnings: ruleWarnings(view, record),
    }
  }
}
