/** Consoles: one-use tickets (in memory, 30 s), and streams to wherever the VM runs now. */
import type { Duplex } from 'node:stream'
import { isoTime } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { HostId, VmId } from '../../base/ids.ts'
import { consolePath, type ReplyOf } from '../../contracts/routes.ts'
import type { AppContext, Caller } from './context.ts'
import { hashOf, newSecret } from './secrets.ts'
import { need } from './write.ts'

const ticketMs = 30_000
const maxTickets = 10_000

export type ConsoleKind = 'serial' | 'vnc'

interface Ticket {
  readonly vm: VmId
  readonly kind: ConsoleKind
  readonly caller: string
  readonly deadline: number
}

export class Consoles {
  readonly #context: AppContext
  readonly #tickets = new Map<string, Ticket>()

  constructor(context: AppContext) {
    this.#context = context
  }

  async createTicket(vm: string, kind: ConsoleKind, caller: Caller): Promise<ReplyOf<'createTicket'>> {
    const { store, clock, random } = this.#context
    const { value } = await need(store, 'vm', vm)
    if (kind === 'vnc' && value.spec.video === 'none') {
      throw new HoldfastError('wrong-state', `${value.name} has no screen`, { mend: 'Use its serial console.' })
    }
    this.#hostOf((await need(store, 'run', vm)).value.run, value.name)
    this.#dropOld()
    const secret = newSecret(random)
    const deadline = clock.monotonic() + ticketMs
    this.#tickets.set(hashOf(secret), { vm: value.id, kind, caller: caller.name, deadline })
    return { url: `${consolePath}?ticket=${secret}`, expires: isoTime(clock.now() + ticketMs) }
  }

  /** Uses a ticket up. Throws `not-signed-in` for one that is unknown, used or too old. */
  redeem(secret: string): Ticket {
    const key = hashOf(secret)
    const ticket = this.#tickets.get(key)
    this.#tickets.delete(key)
    if (ticket !== undefined && ticket.deadline > this.#context.clock.monotonic()) return ticket
    throw new HoldfastError('not-signed-in', 'this console ticket is unknown, used or too old', {
      mend: 'Ask for a new one: each works once, for 30 seconds.',
    })
  }

  /** The host that runs the VM now. Throws `wrong-state` when none does. */
  async whereabouts(vm: VmId): Promise<HostId> {
    const { value } = await need(this.#context.store, 'run', vm)
    return this.#hostOf(value.run, vm)
  }

  connect(host: HostId, vm: VmId, kind: ConsoleKind): Promise<Duplex> {
    return this.#context.agent(host).console(vm, kind)
  }

  /** Calls back when the VM's run record has changed. */
  onMove(vm: VmId, listener: () => void): Disposable {
    return this.#context.mirror.onBatch((batch) => {
      if (batch === 'relist' || batch.changes.some((change) => change.kind === 'run' && change.id === vm)) listener()
    })
  }

  /** The guest's screen. Throws `wrong-state` when it does not run or has none. */
  async screenshot(vm: string): Promise<Uint8Array> {
    const { store } = this.#context
    const { value } = await need(store, 'vm', vm)
    if (value.spec.video === 'none') throw new HoldfastError('wrong-state', `${value.name} has no screen`)
    const host = this.#hostOf((await need(store, 'run', vm)).value.run, value.name)
    return this.#context.agent(host).screenshot(value.id)
  }

  #hostOf(run: { readonly phase: string; readonly host: HostId | null }, name: string): HostId {
    if ((run.phase === 'running' || run.phase === 'moving') && run.host !== null) return run.host
    throw new HoldfastError('wrong-state', `${name} does not run`, { mend: 'Power it on first.' })
  }

  #dropOld(): void {
    const now = this.#context.clock.monotonic()
    for (const [key, ticket] of this.#tickets) if (ticket.deadline <= now) this.#tickets.delete(key)
    if (this.#tickets.size < maxTickets) return
    throw new HoldfastError('too-many-requests', 'too many console tickets are waiting to be used', {
      mend: 'Try again in half a minute.',
    })
  }
}
