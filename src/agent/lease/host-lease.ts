/**
 * This host's lease (contracts/host-lease.ts): it is held while managers answer reports; when they do not, the other hosts
 * are asked; and the watchdog stops what is armed unless all of them vouch. Whatever changes what is promised is durable
 * here first, in the watchdog's order second, at the managers third; what is taken back goes the other way.
 */
import type { Clock } from '../../base/clock.ts'
import { describeError, HoldfastError, toHoldfastError } from '../../base/errors.ts'
import type { HostId, VmId } from '../../base/ids.ts'
import type { Logger } from '../../base/log.ts'
import { SerialQueue } from '../../base/serial-queue.ts'
import {
  isVouchFor,
  usualLeaseTerms,
  type HostPromise,
  type LeaseAnswer,
  type LeaseReport,
  type LeaseState,
  type LeaseTerms,
  type LeftBy,
  type VouchAnswer,
  type VouchRequest,
  type Witness,
} from '../../contracts/host-lease.ts'
import type { ManagerApi } from '../../contracts/manager-api.ts'
import type { LeaseFile, LeaseMemory } from './lease-file.ts'
import type { Watchdog, WatchdogOrder } from './watchdog-port.ts'

export interface HostLeaseDeps {
  readonly host: HostId
  readonly clock: Clock
  readonly log: Logger
  readonly manager: Pick<ManagerApi, 'promise'>
  readonly file: LeaseFile
  readonly watchdog: Watchdog
  /** Asks another host. Rejects when it does not answer while there is time to ask. */
  readonly ask: (witness: Witness, request: VouchRequest) => Promise<VouchAnswer>
  readonly signal: AbortSignal
}

const lookEveryMs = 200
/**
 * A host that was answered so lately hears managers. Less than the term, for the one that asks may have been answered last before a
 * report that got lost; and nothing rests on it but how soon a vouch is given.
 */
const hearsWithinMs = 3500
/** One that has not answered by then is asked once more beside, since a request may be lost; its first answer counts still. */
const askAgainMs = 700

export class HostLease {
  readonly #deps: HostLeaseDeps
  /** Of the memory alone: nothing waits in it for anybody else, so that others are always answered. */
  readonly #queue = new SerialQueue()
  #memory: LeaseMemory
  /** Until then a manager's answer counts; by the clock that does not jump. */
  #until = Number.NEGATIVE_INFINITY
  /** Who has vouched for this host in this round. */
  readonly #vouched = new Set<HostId>()
  /** When a host that has not answered yet was asked last. */
  readonly #asked = new Map<HostId, number>()
  readonly #openedAt: number
  #heardAt: number | undefined
  #said: LeaseState = 'none'
  /** What the watchdog has, or is about to have. */
  #armedNow: readonly VmId[] = []
  #isStandingDown = false
  readonly #orders = new SerialQueue()
  #newest: { readonly sentAt: number; readonly answer: LeaseAnswer } | undefined
  #taking = false

  private constructor(deps: HostLeaseDeps, memory: LeaseMemory) {
    this.#deps = deps
    this.#memory = memory
    this.#openedAt = deps.clock.monotonic()
  }

  /** What is armed is so from here on, also while no manager answers. */
  static async open(deps: HostLeaseDeps): Promise<HostLease> {
    const memory = await deps.file.read()
    const lease = new HostLease(deps, memory)
    const { armed, isReleased } = memory
    const before = await deps.watchdog.ordered()
    // An order that names more is left from a moment at which the agent died: what is remembered here counts.
    if (armed.length + (before?.armed.length ?? 0) > 0) {
      // After a boot of the machine there is no order: nothing runs, and nothing of it may before a manager has answered.
      const deadlineMs = isReleased ? null : before === undefined ? 0 : before.deadlineMs
      await deps.watchdog.order({ deadlineMs, armed })
      lease.#armedNow = armed
    }
    lease.#goOn(before)
    return lease
  }

  /** On the same boot of the machine an agent that begins anew knows until when the one before it had a manager's word. */
  #goOn(before: WatchdogOrder | undefined): void {
    if (before?.deadlineMs == null || before.deadlineMs === 0) return
    const { termMs, askingMs } = this.#terms
    this.#until = before.deadlineMs - askingMs
    this.#heardAt = this.#until - termMs
  }

  get state(): LeaseState {
    const { round, armed, isReleased } = this.#memory
    if (round === 0) return 'none'
    if (isReleased) return 'released'
    const now = this.#deps.clock.monotonic()
    if (now < this.#until) return 'held'
    if (armed.length === 0) return 'none'
    return now < this.#until + this.#terms.askingMs ? 'asking' : 'stopping'
  }

  /** For the report. */
  word(): LeaseReport {
    return { state: this.state, vouchedFor: [...this.#memory.vouchedFor] }
  }

  /** Whether vCPUs of this VM may begin to run here now. Throws `unreachable` when it is armed and no lease is held. */
  mustHold(vm: VmId): void {
    const { armed, isReleased } = this.#memory
    if (!armed.includes(vm) || isReleased || this.#deps.clock.monotonic() < this.#until) return
    throw new HoldfastError(
      'unreachable',
      `${vm} is stopped where its host loses the managers, and this host has just lost them`,
      {
        mend: 'It is tried again when a manager answers this host.',
      },
    )
  }

  /** A VM that another host left behind is to be started here. Durable when it resolves. Throws `refused` when this host has vouched for that one. */
  takes(left: LeftBy): Promise<void> {
    return this.#queue.run(async () => {
      if (this.#memory.vouchedFor.some((vouch) => isVouchFor(vouch, left))) {
        throw new HoldfastError('refused', `this host has vouched that the VMs of ${left.host} may run on there`, {
          mend: 'Bring that host back, or confirm that it is off.',
        })
      }
      if (this.#memory.tookFrom.some((took) => isVouchFor(took, left))) return
      await this.#write({ tookFrom: replaced(this.#memory.tookFrom, left) })
    })
  }

  /** Another host asks whether this one too hears no manager. */
  vouch({ host, round }: VouchRequest): Promise<VouchAnswer> {
    return this.#queue.run(async () => {
      const left = { host, round }
      if (this.#memory.vouchedFor.some((vouch) => isVouchFor(vouch, left)))
        return { isVouched: true, why: 'vouched before' }
      if (this.#hearsManagers()) return { isVouched: false, why: 'a manager answers here' }
      if (this.#memory.tookFrom.some((took) => isVouchFor(took, left))) {
        return { isVouched: false, why: 'VMs of that host were started here' }
      }
      await this.#write({ vouchedFor: replaced(this.#memory.vouchedFor, left) })
      this.#deps.log.warn({ host, round }, 'no manager answers here either: this host vouches for another')
      return { isVouched: true, why: 'no manager answers here either' }
    })
  }

  /** Those of the promise. */
  get #terms(): LeaseTerms {
    return this.#memory.terms ?? usualLeaseTerms
  }

  #hearsManagers(): boolean {
    const now = this.#deps.clock.monotonic()
    return now - (this.#heardAt ?? this.#openedAt) < hearsWithinMs
  }

  /**
   * A manager has answered the report that was sent at `sentAt`. What follows from it goes on in the background, for the newest
   * answer; what could not be told is told with the next.
   */
  answered(sentAt: number, answer: LeaseAnswer | null | undefined): void {
    this.#heardAt = sentAt
    if (answer === null || answer === undefined) return
    // However long the rest takes, this counts at once: what is not closed is closed only after all of its terms.
    if (!answer.isClosed && !this.#memory.isReleased && !this.#isStandingDown) {
      this.#until = Math.max(this.#until, sentAt + this.#terms.termMs)
      // Also with nothing armed: an agent that begins anew learns from it when a manager was heard last.
      this.#order(this.#armedNow).catch(() => undefined)
    }
    this.#newest = { sentAt, answer }
    if (this.#taking) return
    this.#taking = true
    void this.#takeAll().finally(() => {
      this.#taking = false
    })
  }

  async #takeAll(): Promise<void> {
    for (let next = this.#newest; next !== undefined; next = this.#newest) {
      const { sentAt, answer } = next
      this.#newest = undefined
      await this.#take(sentAt, answer).catch((err: unknown) => {
        if (this.#deps.signal.aborted) return
        this.#deps.log.warn({ err: describeError(err) }, 'the lease could not be brought up to date')
      })
    }
  }

  async #take(sentAt: number, answer: LeaseAnswer): Promise<void> {
    const { round, armed, isReleased, wasAsked = false, since = round } = this.#memory
    // What may run since then was armed in it.
    if (answer.isClosed && answer.round >= since) {
      await this.#standDown(union(armed, answer.left))
      return this.#begin(sentAt, answer, false)
    }
    this.#say()
    // Who was asked may have vouched, for good: another round follows, in which nobody has.
    const isWorn = isReleased || wasAsked
    if (round > 0 && answer.round <= round && !isWorn) return this.#renew(answer)
    await this.#begin(sentAt, answer, round > 0 || answer.round > 0)
  }

  /** The round goes on. What the managers have in writing is what was promised last, unless that got lost. */
  async #renew(answer: LeaseAnswer): Promise<void> {
    this.#vouched.clear()
    const { round, number = 0, armed, witnesses, watchdogMs = null } = this.#memory
    const isAsWished =
      answer.round === round &&
      answer.number === number &&
      isSame(armed, answer.armed) &&
      isSame(witnesses.map(address), answer.witnesses.map(address)) &&
      isSameTerms(this.#terms, answer.terms) &&
      watchdogMs === this.#deps.watchdog.hardwareMs
    if (!isAsWished) await this.#promise(answer)
  }

  /** Begins a round, in which the lease is held by the report that was just answered. `goesOn`: what was armed may run. */
  async #begin(sentAt: number, answer: LeaseAnswer, goesOn: boolean): Promise<void> {
    const until = sentAt + shorter(this.#terms, answer.terms).termMs
    if (this.#deps.clock.monotonic() >= until) return
    const before = this.#memory
    const round = Math.max(before.round, answer.round) + 1
    const [armed, since] = goesOn ? [before.armed, before.since ?? before.round] : [[], round]
    // Until the store has the next promise the round before may be open there: those who would be asked of it are asked still.
    const witnesses = goesOn ? before.witnesses : []
    await this.#save({ round, since, armed, witnesses, isReleased: false, wasAsked: false })
    // Only now: a vouch of the round before that comes later counts no more.
    this.#vouched.clear()
    this.#until = Math.max(this.#until, until)
    await this.#promise(answer)
    this.#say()
  }

  /** Makes the promise what the managers wish: larger here first, then told, then no larger than told. */
  async #promise(answer: LeaseAnswer): Promise<void> {
    const before = this.#memory
    const { round, since = round } = before
    const armed = union(before.armed, answer.armed)
    await this.#order(armed)
    const known = new Set(answer.witnesses.map(({ host }) => host))
    const witnesses = [...answer.witnesses, ...before.witnesses.filter(({ host }) => !known.has(host))]
    const number = Math.max(before.number ?? 0, answer.number) + 1
    // Terms too: no longer here than what the managers may count with.
    await this.#save({ armed, witnesses, number, terms: shorter(this.#terms, answer.terms) })
    const promise: HostPromise = {
      ...{ round, since, number, armed: answer.armed, witnesses: [...known], terms: answer.terms },
      watchdogMs: this.#deps.watchdog.hardwareMs,
    }
    await this.#deps.manager.promise(promise)
    const { terms, watchdogMs } = promise
    await this.#save({ armed: answer.armed, witnesses: answer.witnesses, terms, watchdogMs })
    await this.#order(answer.armed)
  }

  /** Orders come from several places; what is written is always what counts when it is written. */
  async #order(armed: readonly VmId[]): Promise<void> {
    this.#armedNow = armed
    await this.#orders.run(() => this.#deps.watchdog.order({ deadlineMs: this.#deadlineMs(), armed: this.#armedNow }))
  }

  #deadlineMs(): number | null {
    if (this.#isStandingDown) return 0
    // Never less than a number: JSON makes null of others, which stands for never.
    return this.#memory.isReleased ? null : Math.max(0, this.#until + this.#terms.askingMs)
  }

  /** Resolves when none of these is left; throws `host-error` while one is. */
  async #standDown(armed: readonly VmId[]): Promise<void> {
    if (armed.length === 0) return
    const { clock, log, watchdog, signal } = this.#deps
    log.warn({ armed }, 'the managers have closed this round of the lease: what was armed is ended')
    this.#until = Number.NEGATIVE_INFINITY
    this.#isStandingDown = true
    try {
      await this.#order(armed)
      for (let tries = 0; tries < 50; tries++) {
        if (await watchdog.areGone(armed)) return
        await clock.sleep(lookEveryMs, signal)
      }
    } finally {
      this.#isStandingDown = false
    }
    throw new HoldfastError('host-error', `a QEMU of ${armed.join(', ')} cannot be ended`, {
      mend: 'Look at the storage that it hangs on, or switch the host off and on.',
    })
  }

  /** Until the agent ends: looks whether the lease is over, and asks the others then. Never rejects. */
  async watch(): Promise<void> {
    const { clock, signal, log } = this.#deps
    for (;;) {
      try {
        await clock.sleep(lookEveryMs, signal)
        this.#say()
        if (this.state === 'asking') await this.#askAll()
      } catch (err) {
        if (signal.aborted) return
        log.warn({ err: describeError(err) }, 'the other hosts could not be asked')
      }
    }
  }

  async #askAll(): Promise<void> {
    const { round, witnesses, wasAsked = false } = this.#memory
    const { clock, log } = this.#deps
    // Before anybody may have vouched.
    if (!wasAsked) await this.#save({ wasAsked: true })
    const now = clock.monotonic()
    for (const witness of witnesses) {
      const isDue = now - (this.#asked.get(witness.host) ?? Number.NEGATIVE_INFINITY) >= askAgainMs
      if (this.#vouched.has(witness.host) || !isDue) continue
      this.#asked.set(witness.host, now)
      this.#askOne(witness, round).catch((err: unknown) => {
        log.warn({ witness: witness.host, err: describeError(err) }, 'a vouch could not be kept')
      })
    }
    await this.#releaseIf(round)
  }

  /** No other host is waited for meanwhile, and a late answer is as good as an early one: what is vouched in a round is so for good. */
  async #askOne(witness: Witness, round: number): Promise<void> {
    const { host, ask, log } = this.#deps
    let why: string
    try {
      const answer = await ask(witness, { host, round })
      if (answer.isVouched && round === this.#memory.round) {
        this.#vouched.add(witness.host)
        await this.#releaseIf(round)
      }
      if (answer.isVouched) return
      why = answer.why
    } catch (thrown) {
      why = toHoldfastError(thrown).message
    }
    this.#asked.delete(witness.host)
    log.info({ witness: witness.host, why }, 'a host does not vouch for this one')
  }

  async #releaseIf(round: number): Promise<void> {
    const isReleased = await this.#queue.run(async () => {
      const { witnesses, isReleased: was } = this.#memory
      // A manager may have answered meanwhile.
      if (round !== this.#memory.round || was || this.state === 'held') return false
      if (!witnesses.every(({ host }) => this.#vouched.has(host))) return false
      await this.#write({ isReleased: true })
      return true
    })
    if (!isReleased) return
    await this.#order(this.#armedNow)
    this.#say()
  }

  #save(change: Partial<LeaseMemory>): Promise<void> {
    return this.#queue.run(() => this.#write(change))
  }

  /** Within the queue of the memory. */
  async #write(change: Partial<LeaseMemory>): Promise<void> {
    const next = { ...this.#memory, ...change }
    await this.#deps.file.write(next)
    this.#memory = next
  }

  #say(): void {
    const { state } = this
    if (state === this.#said) return
    const before = this.#said
    this.#said = state
    const { log } = this.#deps
    const { round, armed } = this.#memory
    if (state === 'released') log.warn({ round }, 'every other host has lost the managers too: all VMs run on')
    else if (state === 'stopping') log.error({ round, armed }, 'this host is cut off: armed VMs are stopped')
    else log.info({ round, before, state }, 'lease')
  }
}

function replaced(all: readonly LeftBy[], one: LeftBy): LeftBy[] {
  return [...all.filter(({ host }) => host !== one.host), one]
}

function union<T>(a: readonly T[], b: readonly T[]): T[] {
  return [...new Set([...a, ...b])]
}

function isSame(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((each) => b.includes(each))
}

/** Terms that hold by the one and by the other. */
function shorter(a: LeaseTerms, b: LeaseTerms): LeaseTerms {
  return {
    termMs: Math.min(a.termMs, b.termMs),
    askingMs: Math.min(a.askingMs, b.askingMs),
    stopMs: Math.min(a.stopMs, b.stopMs),
  }
}

function isSameTerms(a: LeaseTerms, b: LeaseTerms): boolean {
  return a.termMs === b.termMs && a.askingMs === b.askingMs && a.stopMs === b.stopMs
}

function address({ host, url, tlsName }: Witness): string {
  return `${host} ${url} ${tlsName}`
}
