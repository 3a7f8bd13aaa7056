/**
 * Test code: the part of a fake agent that holds VMs in step on two hosts. What survives a crash of the host is what its
 * files would hold: the registers that it keeps as an arbiter, and what it has given up.
 */
import { HoldfastError } from '../../base/errors.ts'
import type { VmId } from '../../base/ids.ts'
import type {
  ChangeArbiterRequest,
  PrepareSecondRequest,
  ProtectRequest,
  UnprotectRequest,
} from '../../contracts/agent-api.ts'
import type { VmObservation } from '../../contracts/host.ts'
import { claimed, looked, opened, superseded } from '../../contracts/protection-register.ts'
import {
  configurationOf,
  managersArbiter as managersId,
  type ArbiterAskRequest,
  type ProtectionConfig,
  type ProtectionSide,
  type RegisterAnswer,
  type RegisterRecord,
} from '../../contracts/protection.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import { managersArbiter } from './managers-arbiter.ts'
import type { FakeAgent } from './fake-agent.ts'
import type { FakeAgents } from './fake-agents.ts'

export class FakePairs {
  readonly #world: FakeAgents
  readonly #agent: FakeAgent
  /** As an arbiter of others. */
  readonly registers = new Map<VmId, RegisterRecord>()

  constructor(world: FakeAgents, agent: FakeAgent) {
    this.#world = world
    this.#agent = agent
  }

  async prepareSecond({ deployment, config, copies }: PrepareSecondRequest): Promise<unknown> {
    await this.#agent.reached()
    const { vm: id, generation } = deployment
    this.#agent.refuseOlder(id, generation)
    const [vm, run] = [this.#agent.vm(id), await this.#agent.record(id)]
    if (run?.protection?.second !== this.#agent.id || run.protection.n !== config.n) {
      throw new HoldfastError('stale-generation', 'the record does not name this host')
    }
    if (vm.givenUp >= config.n) throw new HoldfastError('wrong-state', 'given up already')
    for (const { disk, datastore } of copies) this.#world.files.add(`${datastore}/${disk}`)
    this.#agent.needFiles(deployment)
    if (vm.process === 'none') Object.assign(vm, { process: 'second', second: config, deployment, generation })
    const place = { host: this.#agent.id, port: 1 }
    return { data: place, beats: place, tlsName: this.#agent.id, nbd: null, exports: [] }
  }

  async discardSecond(id: VmId, n: number): Promise<VmObservation> {
    await this.#agent.reached()
    const vm = this.#agent.vm(id)
    vm.givenUp = Math.max(vm.givenUp, n)
    if (vm.process === 'second' && (vm.second?.n ?? 0) <= n) Object.assign(vm, { process: 'none', second: null })
    return this.#agent.seen(id)
  }

  /** Refuses a job of a pair that the record does not know. */
  async mayBegin(id: VmId, { generation, config }: ProtectRequest): Promise<void> {
    this.#agent.refuseOlder(id, generation)
    const run = await this.#agent.record(id)
    if (run?.protection?.n !== config.n) throw new HoldfastError('stale-generation', 'the record names no such pair')
    if (this.#agent.vm(id).process !== 'running') throw new HoldfastError('wrong-state', 'it does not run here')
  }

  /** The second is in step: the arbiter knows the configuration, and then the record says so. False: it could not be. */
  async begin(id: VmId, { config }: ProtectRequest): Promise<boolean> {
    const second = this.#world.agent(config.second)
    const isThere = second.isUp && second.vm(id).process === 'second' && second.vm(id).second?.n === config.n
    if (!isThere || !(await this.#open(config))) return false
    return (await this.#agent.record(id))?.protection?.n === config.n && this.#agent.move(id, 'protected')
  }

  async unprotect(id: VmId, { generation, n, how }: UnprotectRequest): Promise<VmObservation> {
    await this.#agent.reached()
    this.#agent.refuseOlder(id, generation)
    const run = await this.#agent.record(id)
    if (run?.protection?.n !== n || run.host !== this.#agent.id) return this.#agent.seen(id)
    if (how === 'hand-over') {
      const second = this.#world.agent(run.protection.second)
      if (second.isUp && run.protection.phase === 'protected') await second.pairs.takeOver(id)
      return this.#agent.seen(id)
    }
    if ((await this.mayGoOn(id)) && this.#agent.vm(id).process === 'none')
      await this.#agent.move(id, 'stopped', 'crashed')
    return this.#agent.seen(id)
  }

  async changeArbiter(id: VmId, request: ChangeArbiterRequest): Promise<VmObservation> {
    await this.#agent.reached()
    const { generation, n, next, arbiter, old } = request
    const run = await this.#agent.record(id)
    const { protection } = run ?? {}
    const second = protection && this.#world.agent(protection.second)
    const isInStep = protection?.phase === 'protected' && second?.isUp === true && second.vm(id).process === 'second'
    if (
      !isInStep ||
      run?.host !== this.#agent.id ||
      protection.n !== n ||
      this.#world.agent(run.host).vm(id).process === 'none'
    )
      throw new HoldfastError('wrong-state', 'it is not held in step from here')
    const bound = this.#boundBy(run)
    if (bound === undefined) throw new HoldfastError('wrong-state', 'it is not held in step from here')
    if (bound.n !== next) {
      this.#agent.refuseOlder(id, generation)
      if (next <= bound.n) throw new HoldfastError('wrong-state', 'that number was used')
      const config = { ...bound, n: next, arbiter: arbiter.arbiter }
      if (!(await this.#open(config))) throw new HoldfastError('wrong-state', 'the new one does not open it')
      if (old === 'asked' && !(await this.#supersede(bound, config)))
        throw new HoldfastError('wrong-state', 'the old one did not step back')
      this.#world.bound.set(id, config)
    }
    await this.#tellArbiter(id)
    return this.#agent.seen(id)
  }

  /** The record follows what the pair is bound by. */
  async #tellArbiter(id: VmId): Promise<void> {
    const run = await this.#agent.record(id)
    const bound = run && this.#boundBy(run)
    if (bound === undefined || !run?.protection || bound.n <= configurationOf(run.protection)) return
    const { n, arbiter } = bound
    await this.#agent.move(id, 'new-arbiter', null, { decides: { n, arbiter } })
  }

  #boundBy({ vm, host, protection }: RunRecord): ProtectionConfig | undefined {
    if (!protection || host === null) return undefined
    const { second, arbiter } = protection
    const bound = this.#world.bound.get(vm)
    const n = configurationOf(protection)
    return bound !== undefined && bound.n >= n ? bound : { vm, n, primary: host, second, arbiter }
  }

  /** Whether this host, which the record names, is the only copy now; a loser ends its guest. */
  async mayGoOn(id: VmId): Promise<boolean> {
    const run = await this.#agent.record(id)
    if (run?.host !== this.#agent.id) return false
    const { protection } = run
    if (!protection) return true
    if (protection.phase === 'protected') {
      const answer = await this.#claim(run, 'primary')
      if (answer.is === 'lost') this.#agent.vm(id).process = 'none'
      if (answer.is !== 'won') return false
    }
    return this.#agent.move(id, 'alone')
  }

  /** The second goes on when it wins. */
  async takeOver(id: VmId): Promise<void> {
    const [vm, run] = [this.#agent.vm(id), await this.#agent.record(id)]
    const protection = run?.protection
    if (run?.host === null || run === undefined || protection?.n !== vm.second?.n || !protection) return
    if ((await this.#claim(run, 'second')).is !== 'won') return
    // The loser ends its guest before the winner's is seen.
    const primary = this.#world.agent(run.host)
    if (primary.isUp) primary.vm(id).process = 'none'
    this.#agent.run(id)
    vm.second = null
    await this.#agent.move(id, 'took-over')
  }

  /** What the pumps here see by themselves: the other side is gone. */
  async watchOver(vms: Iterable<VmId>): Promise<void> {
    for (const id of vms) {
      const run = await this.#agent.record(id)
      const protection = run?.protection
      if (run?.phase !== 'running' || protection?.phase !== 'protected' || run.host === null) continue
      const isSecond = protection.second === this.#agent.id && this.#agent.vm(id).process === 'second'
      const primary = this.#world.agent(run.host)
      const isPrimaryGone = !primary.isUp || primary.vm(id).process === 'none'
      if (isSecond && isPrimaryGone) await this.takeOver(id).catch(falseWhenUnreachable)
      const second = this.#world.agent(protection.second)
      const isSecondGone = !second.isUp || second.vm(id).process !== 'second'
      if (run.host === this.#agent.id) await this.#tellArbiter(id)
      if (run.host === this.#agent.id && isSecondGone) await this.mayGoOn(id).catch(falseWhenUnreachable)
    }
  }

  async claimHere({ vm, n, side }: ArbiterAskRequest): Promise<RegisterAnswer> {
    await this.#agent.reached()
    return this.decide(vm, n, side)
  }

  async lookHere({ vm, n, side }: ArbiterAskRequest): Promise<RegisterAnswer> {
    await this.#agent.reached()
    return looked(this.registers.get(vm), n, side)
  }

  decide(vm: VmId, n: number, side: ProtectionSide): RegisterAnswer {
    const { answer, record } = claimed(this.registers.get(vm), n, side)
    if (record !== null) this.registers.set(vm, record)
    return answer
  }

  async #open(config: ProtectionConfig): Promise<boolean> {
    if (config.arbiter === managersId) {
      const api = managersArbiter(this.#world.store)
      await api.arbiterOpen({ config, life: (await api.arbiterLife()).life })
      return true
    }
    const arbiter = this.#world.agent(config.arbiter)
    const record = opened(arbiter.pairs.registers.get(config.vm), config)
    if (!arbiter.isUp || record === undefined) return false
    arbiter.pairs.registers.set(config.vm, record)
    return true
  }

  /** True: it has stepped back for this one. */
  async #supersede(config: ProtectionConfig, next: ProtectionConfig): Promise<boolean> {
    const { vm, n, arbiter } = config
    const request = { vm, n, next }
    if (arbiter === managersId)
      return (await managersArbiter(this.#world.store).arbiterSupersede(request)).is === 'superseded'
    const host = this.#world.agent(arbiter)
    if (!host.isUp) throw new HoldfastError('unreachable', `${arbiter} does not answer`)
    const { answer, record } = superseded(host.pairs.registers.get(vm), n, next)
    if (record !== null) host.pairs.registers.set(vm, record)
    return answer.is === 'superseded' && answer.next.n === next.n
  }

  async #claim(run: RunRecord, side: ProtectionSide): Promise<RegisterAnswer> {
    const bound = this.#boundBy(run)
    if (bound === undefined) return { is: 'unknown' }
    const { vm, n, arbiter } = bound
    const host = arbiter === managersId ? undefined : this.#world.agent(arbiter)
    if (host?.isUp === false) throw new HoldfastError('unreachable', `${arbiter} does not answer`)
    const answer =
      host === undefined
        ? await managersArbiter(this.#world.store).arbiterClaim({ vm, n, side })
        : host.pairs.decide(vm, n, side)
    if (answer.is !== 'superseded') return answer
    this.#world.bound.set(vm, answer.next)
    return this.#claim(run, side)
  }
}

/** What cannot be decided now is decided later. */
export function falseWhenUnreachable(thrown: unknown): false {
  if (!(thrown instanceof HoldfastError) || !thrown.isUnknown) throw thrown
  return false
}
