/**
 * A protected VM on four simulated hosts: the real state machines of both sides and of the register, over wires that lose
 * and delay, on hosts that crash, freeze and forget, in pumps that die and are followed by others, which know no more than
 * what was durable. Virtual milliseconds; everything follows from the seed.
 */
import type { HostId, VmId } from '../../base/ids.ts'
import { newPrimary, stepPrimary, type PrimaryAct, type PrimaryInput } from '../../agent/protect/primary-side.ts'
import { newSecond, stepSecond, type SecondAct, type SecondInput } from '../../agent/protect/second-side.ts'
import type { ProtectionConfig, RegisterAnswer } from '../../contracts/protection.ts'
import type { SeededRandom } from '../seeded-random.ts'
import { Histories, type History } from './histories.ts'
import type { PlantedProtection } from './planted.ts'
import { ProtectedHost, type GivingAway, type RegisterQuestion } from './protected-host.ts'
import { Agenda, Wires } from './wires.ts'

export const limits = { silenceMs: 300, askAgainMs: 150 }
const [beatMs, epochMs] = [60, 50]

type Message = (host: ProtectedHost) => void

export class ProtectedVm {
  readonly agenda = new Agenda()
  readonly histories = new Histories()
  readonly hosts: readonly ProtectedHost[] = ['host-1', 'host-2', 'host-3', 'host-4'].map(
    (name) => new ProtectedHost(name),
  )
  readonly wires: Wires
  readonly random: SeededRandom
  readonly trace: string[] = []
  /** How often what happened. */
  readonly tally: Record<string, number> = {}
  readonly #planted: ReadonlySet<PlantedProtection>
  readonly #isVerbose: boolean
  /** The highest number that the manager has seen in use. */
  #lastN = 1

  constructor(random: SeededRandom, planted: ReadonlySet<PlantedProtection>, isVerbose: boolean) {
    this.random = random
    this.#planted = planted
    this.#isVerbose = isVerbose
    this.wires = new Wires(this.agenda, random)
    for (const host of this.hosts) {
      host.answersAnyClaim = planted.has('arbiter-says-yes-to-all')
      this.#every(host, beatMs, () => this.#tick(host))
      this.#every(host, epochMs, () => this.#input(host, 'primary', { is: 'cut' }))
    }
    this.#protectFirst()
  }

  /** Notes a step; its words are made only when somebody reads them. */
  say(what: () => string): void {
    if (this.#isVerbose) this.trace.push(`${String(this.agenda.now).padStart(6)}  ${what()}`)
  }

  count(what: string): void {
    this.tally[what] = (this.tally[what] ?? 0) + 1
  }

  host(name: string): ProtectedHost {
    const found = this.hosts.find((host) => host.name === name)
    if (found === undefined) throw new Error(`there is no ${name}`)
    return found
  }

  /** Hosts whose copy runs, whether its output is held or not. */
  running(): ProtectedHost[] {
    return this.hosts.filter((host) => host.copy?.side === 'primary' && host.copy.state.phase !== 'lost')
  }

  crash(host: ProtectedHost): void {
    this.say(() => `${host.name} crashes`)
    const { copy } = host
    host.isUp = false
    host.copy = null
    host.givingAway = null
    this.count('crashes')
    if (copy === null) return
    // Most deaths are seen by the other side at once: its connection is reset.
    const { config } = copy.state
    const peer = this.host(copy.side === 'primary' ? config.second : config.primary)
    if (this.random.chance(0.7)) this.breakConnection(host, peer)
  }

  /** The pump of a pair's side dies. What follows it holds nothing, and only finds out who may go on (pump/salvage.ts). */
  killPump(host: ProtectedHost): void {
    const { copy } = host
    if (copy === null || ['alone', 'lost', 'candidate', 'running'].includes(copy.state.phase)) return
    const { durable } = copy
    this.say(() => `the pump of ${host.name} dies (${copy.side}, ${copy.state.phase}); ${durable.n} is durable`)
    this.count('pumps that died')
    if (copy.side === 'primary') {
      const { cut, lastN } = copy.state
      const state = {
        ...newPrimary(durable, cut, this.agenda.now),
        phase: 'claiming' as const,
        lastN,
        askedAt: -Infinity,
      }
      host.copy = { ...copy, state }
    } else {
      host.copy = null
      host.givingAway = { ask: 'claim', config: durable, acked: copy.state.acked, of: copy.of }
    }
    const peer = this.host(copy.side === 'primary' ? durable.second : durable.primary)
    if (this.random.chance(0.7)) this.breakConnection(host, peer)
  }

  /** The connection of the two sides breaks, and `peer` takes the other one for dead; it may be wrong. */
  breakConnection(from: ProtectedHost, peer: ProtectedHost): void {
    this.count('broken connections')
    this.wires.send(from.name, peer.name, () =>
      this.on(peer, ({ copy }) => {
        if (copy !== null) this.#input(peer, copy.side, { is: 'peer-gone' })
      }),
    )
  }

  /** A word of the manager to the primary: another host is to decide. */
  changeArbiter(primary: ProtectedHost, arbiter: ProtectedHost): void {
    if (primary.copy?.side !== 'primary') return
    // One that lives may be taken for gone.
    const isAsked = this.host(primary.copy.state.config.arbiter).isUp && this.random.chance(0.7)
    const old = isAsked ? 'asked' : 'gone'
    this.say(() => `${primary.name} is told that ${arbiter.name} decides from now on (the old one is ${old})`)
    const next = { n: Math.max(this.#lastN, primary.copy.state.lastN) + 1, arbiter: arbiter.name as HostId }
    this.#lastN = next.n
    this.#input(primary, 'primary', { is: 'new-arbiter', next, life: String(arbiter.life), old })
  }

  /** A copy that runs alone gets a second on a host that has none, which is in step when it is told so. */
  protectAgain(primary: ProtectedHost, second: ProtectedHost, arbiter: ProtectedHost): void {
    const { copy } = primary
    if (copy?.side !== 'primary' || copy.state.phase !== 'alone' || !isFree(second)) return
    const n = Math.max(this.#lastN, copy.state.lastN) + 1
    const config = this.#config(n, primary, second, arbiter)
    if (!arbiter.isUp || !arbiter.open(config, String(arbiter.life))) return
    this.#lastN = n
    this.say(() => `${primary.name} is protected again: second ${second.name}, arbiter ${arbiter.name}, n ${n}`)
    this.count('protected again')
    const { cut } = copy.state
    second.copy = { side: 'second', state: newSecond(config, cut, this.agenda.now), durable: config, of: copy.history }
    copy.state = newPrimary(config, cut, this.agenda.now)
    copy.durable = config
  }

  /** What follows happens on a host that is up: at once, or when it is thawed. */
  on(host: ProtectedHost, run: Message): void {
    if (!host.isUp) return
    if (host.frozenUntil > this.agenda.now) this.agenda.at(host.frozenUntil, () => this.on(host, run))
    else run(host)
  }

  #protectFirst(): void {
    const [primary, second, arbiter] = this.hosts as [ProtectedHost, ProtectedHost, ProtectedHost]
    const config = this.#config(1, primary, second, arbiter)
    arbiter.open(config, String(arbiter.life))
    const history = this.histories.begin()
    primary.copy = { side: 'primary', state: newPrimary(config, 0, 0), durable: config, history }
    second.copy = { side: 'second', state: newSecond(config, 0, 0), durable: config, of: history }
  }

  #config(n: number, primary: ProtectedHost, second: ProtectedHost, arbiter: ProtectedHost): ProtectionConfig {
    const [p, s, a] = [primary, second, arbiter].map(({ name }) => name as HostId) as [HostId, HostId, HostId]
    return { vm: 'vm-1' as VmId, n, primary: p, second: s, arbiter: a }
  }

  #every(host: ProtectedHost, ms: number, run: () => void): void {
    const again = (): void => {
      this.on(host, run)
      this.agenda.at(this.agenda.now + ms, again)
    }
    this.agenda.at(this.random.int(ms), again)
  }

  #tick(host: ProtectedHost): void {
    const { copy } = host
    if (copy !== null) this.#input(host, copy.side, { is: 'tick' })
    if (host.givingAway !== null) this.#giveAway(host, host.givingAway)
  }

  #input(host: ProtectedHost, side: 'primary', input: PrimaryInput): void
  #input(host: ProtectedHost, side: 'second', input: SecondInput): void
  #input(host: ProtectedHost, side: 'primary' | 'second', input: PrimaryInput & SecondInput): void
  #input(host: ProtectedHost, side: 'primary' | 'second', input: PrimaryInput | SecondInput): void {
    const { copy } = host
    if (copy === null || copy.side !== side) return
    const { now } = this.agenda
    const phase = copy.state.phase
    if (copy.side === 'primary') {
      const { n } = copy.state.config
      const step = stepPrimary(copy.state, input as PrimaryInput, now, limits)
      copy.state = step.state
      if (step.state.config.n > n) this.count('new arbiters')
      for (const act of step.acts) this.#primaryActs(host, copy, act)
    } else {
      const step = stepSecond(copy.state, input as SecondInput, now, limits)
      copy.state = step.state
      for (const act of step.acts) this.#secondActs(host, copy, act)
    }
    if (copy.state.phase !== phase) this.say(() => `${host.name}: ${phase} -> ${copy.state.phase} (${input.is})`)
  }

  #primaryActs(host: ProtectedHost, copy: Extract<ProtectedHost['copy'], { side: 'primary' }>, act: PrimaryAct): void {
    const { second } = copy.state.config
    const { n } = copy.state.config
    switch (act.do) {
      case 'save':
        this.#lastN = Math.max(this.#lastN, act.lastN)
        if (!this.#planted.has('adopts-before-durable')) copy.durable = act.config
        return
      case 'ship':
        if (this.#planted.has('releases-before-ack')) this.histories.release(copy.history, act.epoch)
        return this.#toSecond(host, second, { is: 'epoch', n, epoch: act.epoch })
      case 'beat':
        return this.#toSecond(host, second, { is: 'beat', n: act.n })
      case 'configure':
        if (this.#planted.has('opens-before-promise'))
          this.#open(host, act.next, String(this.host(act.next.arbiter).life))
        return this.#toSecond(host, second, { is: 'configure', next: act.next })
      case 'release':
        return this.histories.release(copy.history, act.through)
      case 'claim':
        this.count('claims of a primary')
        return this.#ask(host, 'primary', act.config, { ask: 'claim', n: act.config.n, side: 'primary' })
      case 'look':
        return this.#ask(host, 'primary', act.config, { ask: 'look', n: act.config.n, side: 'primary' })
      case 'supersede':
        return this.#ask(host, 'primary', act.config, {
          ask: 'supersede',
          n: act.config.n,
          side: 'primary',
          next: act.next,
        })
      case 'open':
        return this.#open(host, act.config, act.life)
      case 'kill':
        this.count('primaries that lost')
        host.copy = null
    }
  }

  #secondActs(host: ProtectedHost, copy: Extract<ProtectedHost['copy'], { side: 'second' }>, act: SecondAct): void {
    const { primary } = copy.state.config
    switch (act.do) {
      case 'save':
        copy.durable = act.config
        return
      case 'ack':
        return this.#toPrimary(host, primary, { is: 'ack', n: act.n, epoch: act.epoch })
      case 'beat':
        return this.#toPrimary(host, primary, { is: 'beat', n: act.n })
      case 'configured':
        return this.#toPrimary(host, primary, { is: 'configured', n: act.n })
      case 'claim':
        this.count('claims of a second')
        return this.#ask(host, 'second', act.config, { ask: 'claim', n: act.config.n, side: 'second' })
      case 'run':
        return this.#takeOver(host, copy, act.from)
      case 'discard':
        host.copy = null
    }
  }

  /** The survivor runs, and is a primary alone from now on. */
  #takeOver(host: ProtectedHost, copy: Extract<ProtectedHost['copy'], { side: 'second' }>, from: number): void {
    this.count('takeovers')
    const lost = this.#planted.has('forgets-last-epoch') ? 1 : 0
    this.#runsAlone(host, copy.state.config, from, this.histories.branch(copy.of, from - lost))
  }

  #runsAlone(host: ProtectedHost, config: ProtectionConfig, from: number, history: History): void {
    const state = { ...newPrimary(config, from, this.agenda.now), phase: 'alone' as const }
    host.copy = { side: 'primary', state, durable: config, history }
  }

  #giveAway(host: ProtectedHost, giving: GivingAway): void {
    const { ask, config, acked, of } = giving
    const side = ask === 'claim' ? 'primary' : 'second'
    this.#put(host, config, { ask, n: config.n, side }, (answer) => {
      if (host.givingAway !== giving) return
      if (answer.is === 'superseded') host.givingAway = { ...giving, config: answer.next }
      else if (ask === 'claim') host.givingAway = answer.is === 'open' ? giving : { ...giving, ask: 'look' }
      else {
        host.givingAway = null
        // Its guest is gone: it is started from its images, which have all that was acknowledged.
        if (answer.is !== 'won') return
        this.count('seconds that had won before their pump died')
        this.#runsAlone(host, config, acked, this.histories.branch(of, acked))
      }
    })
  }

  #toSecond(from: ProtectedHost, to: string, input: SecondInput): void {
    this.wires.send(from.name, to, () => this.on(this.host(to), (host) => this.#input(host, 'second', input)))
  }

  #toPrimary(from: ProtectedHost, to: string, input: PrimaryInput): void {
    this.wires.send(from.name, to, () => this.on(this.host(to), (host) => this.#input(host, 'primary', input)))
  }

  #ask(from: ProtectedHost, as: 'primary' | 'second', config: ProtectionConfig, question: RegisterQuestion): void {
    const { copy } = from
    this.#put(from, config, question, (answer) => {
      // A pump that has died hears nothing any more.
      if (from.copy === copy) this.#input(from, as, { is: 'answer', n: question.n, answer })
    })
  }

  /** A question to an arbiter, and its answer. */
  #put(
    from: ProtectedHost,
    { arbiter }: ProtectionConfig,
    question: RegisterQuestion,
    onAnswer: (answer: RegisterAnswer) => void,
  ): void {
    this.wires.send(from.name, arbiter, () =>
      this.on(this.host(arbiter), (host) => {
        const answer = host.answer(question)
        if (answer.is === 'won') this.histories.won(question.n, question.side)
        this.say(() => `${arbiter} answers ${from.name}, ${question.ask} ${question.n}: ${answer.is}`)
        this.wires.send(arbiter, from.name, () => this.on(from, () => onAnswer(answer)))
      }),
    )
  }

  #open(from: ProtectedHost, config: ProtectionConfig, life: string): void {
    const { arbiter, n } = config
    this.wires.send(from.name, arbiter, () =>
      this.on(this.host(arbiter), (host) => {
        if (!host.open(config, life)) return
        this.wires.send(arbiter, from.name, () =>
          this.on(from, () => this.#input(from, 'primary', { is: 'opened', n })),
        )
      }),
    )
  }
}

/** Up, with nothing of the VM. */
function isFree({ isUp, copy, givingAway }: ProtectedHost): boolean {
  return isUp && copy === null && givingAway === null
}
