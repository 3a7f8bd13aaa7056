/**
 * Views of VMs, kept until any part of what they show changes, with their JSON text beside them: a list of a thousand VMs
 * is then a join of texts. What a view is made of is compared by identity, since records and reports are never changed in
 * place but replaced; so nothing has to say that a view is old.
 */
import type { Vm } from '../../../contracts/inventory.ts'
import type { HostState } from '../../domain/cluster-view.ts'
import type { VmRecord } from '../../store/records.ts'
import type { HostRegistry } from '../host-registry.ts'
import type { Mirror } from '../mirror.ts'
import { vmView, type VmParts } from './vm-view.ts'

/** A view and, once it was asked for, its text. The same object is given to all who ask: never change it. */
export class KeptView {
  readonly id: string
  readonly parts: VmParts
  readonly view: Vm
  #text: string | undefined

  constructor(parts: VmParts) {
    this.id = parts.vm.id
    this.parts = parts
    this.view = vmView(parts)
  }

  get text(): string {
    this.#text ??= JSON.stringify(this.view)
    return this.#text
  }
}

/** A list that was sent last; the next one is often the same. */
interface SentPage {
  readonly items: readonly KeptView[]
  readonly tail: string
  readonly bytes: Buffer
}

export class VmViews {
  readonly #mirror: Mirror
  readonly #registry: HostRegistry
  /** By record: a record that was replaced takes its view with it. */
  readonly #kept = new WeakMap<VmRecord, KeptView>()
  #sent: SentPage | undefined

  constructor(mirror: Mirror, registry: HostRegistry) {
    this.#mirror = mirror
    this.#registry = registry
  }

  /** As of what the mirror holds now; undefined for a VM that has no run record (it is just being deleted). */
  of(vm: VmRecord): KeptView | undefined {
    const mirror = this.#mirror
    const run = mirror.get('run', vm.id)?.run
    if (run === undefined) return undefined
    const kept = this.#kept.get(vm)
    const host = mirror.get('host', run.host)
    const hostName = host?.name ?? null
    const hostState = this.#stateOf(run.host)
    const observation = this.#registry.observation(run.host, vm.id)
    const task = mirror.get('task', vm.operation)
    const { protection = null } = run
    const secondName = protection === null ? null : this.#nameOf(protection.second)
    const arbiterName = protection === null ? null : this.#nameOf(protection.arbiter)
    const secondState = this.#stateOf(protection?.second ?? null)
    const arbiterState = this.#stateOf(protection?.arbiter ?? null)
    const secondObservation = protection === null ? undefined : this.#registry.observation(protection.second, vm.id)
    if (kept !== undefined) {
      const { parts } = kept
      const isSame =
        parts.run === run &&
        parts.hostName === hostName &&
        parts.hostState === hostState &&
        parts.observation === observation &&
        parts.secondName === secondName &&
        parts.arbiterName === arbiterName &&
        parts.secondState === secondState &&
        parts.arbiterState === arbiterState &&
        parts.secondObservation === secondObservation &&
        parts.task === task
      if (isSame) return kept
    }
    const revision = mirror.revisionOf('vm', vm.id)
    const pair = { secondName, arbiterName, secondState, arbiterState, secondObservation }
    const seen = { hostName, hostState, observation, ...pair }
    const made = new KeptView({ vm, revision, run, ...seen, task })
    this.#kept.set(vm, made)
    return made
  }

  #stateOf(id: string | null): HostState | null {
    const host = this.#mirror.get('host', id)
    return host === undefined ? null : this.#registry.stateOf(host)
  }

  #nameOf(host: string): string {
    return this.#mirror.get('host', host)?.name ?? host
  }

  /** A page as JSON, the same as its object would be. The last one is kept: who asks again gets the same bytes. */
  pageBytes(page: { items: readonly KeptView[]; next: string | null; revision: number }): Buffer {
    const tail = `],"next":${JSON.stringify(page.next)},"revision":${page.revision}}`
    const sent = this.#sent
    if (sent?.tail === tail && sameItems(sent.items, page.items)) return sent.bytes
    const bytes = Buffer.from(`{"items":[${page.items.map((item) => item.text).join(',')}${tail}`)
    this.#sent = { items: page.items, tail, bytes }
    return bytes
  }
}

function sameItems(one: readonly KeptView[], other: readonly KeptView[]): boolean {
  return one.length === other.length && one.every((item, at) => item === other[at])
}
