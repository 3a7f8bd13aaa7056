/** Random schedules of one protected VM: from a seed to what broke a promise. */
import { SeededRandom } from '../seeded-random.ts'
import type { PlantedProtection } from './planted.ts'
import type { ProtectedHost } from './protected-host.ts'
import { ProtectedVm } from './protected-vm.ts'

export interface SearchOptions {
  readonly seed: number
  readonly planted?: ReadonlySet<PlantedProtection>
  readonly isVerbose?: boolean
}

export interface SearchOutcome {
  readonly seed: number
  /** What broke a promise; empty in a sound run. */
  readonly wrong: readonly string[]
  readonly trace: readonly string[]
  readonly virtualMs: number
  readonly tally: Readonly<Record<string, number>>
}

/** Trouble lasts this long, then everything is mended and left alone. */
const [troubleMs, calmMs] = [3500, 2500]

export function searchProtection({ seed, planted = new Set(), isVerbose = false }: SearchOptions): SearchOutcome {
  const vm = new ProtectedVm(new SeededRandom(seed), planted, isVerbose)
  const { random, agenda } = vm
  const events = 2 + random.int(5)
  for (let event = 0; event < events; event++) agenda.at(200 + random.int(troubleMs - 200), () => trouble(vm))
  agenda.runUntil(troubleMs)
  mendAll(vm)
  agenda.runUntil(troubleMs + calmMs)
  const wrong = [...vm.histories.wrong, ...alive(vm)]
  return { seed, wrong, trace: vm.trace, virtualMs: agenda.now, tally: vm.tally }
}

function trouble(vm: ProtectedVm): void {
  const { random, agenda } = vm
  const host = random.pick(vm.hosts)
  const forMs = 50 + random.int(random.chance(0.5) ? 300 : 2000)
  switch (random.int(10)) {
    case 0:
      return vm.crash(host)
    case 1:
    case 2:
      vm.say(() => `${host.name} freezes for ${forMs} ms`)
      host.frozenUntil = agenda.now + forMs
      return
    case 3:
    case 4:
      return cut(vm, host, forMs)
    case 5:
      if (!random.chance(0.3)) return
      vm.say(() => `${host.name} forgets its register`)
      return host.forget()
    case 6:
      return changeArbiter(vm, host)
    case 7:
      return protectAgain(vm)
    case 8:
      return breakConnection(vm)
    case 9:
      return vm.killPump(host)
  }
}

/** Often something goes wrong in the few milliseconds that a change takes. */
function changeArbiter(vm: ProtectedVm, arbiter: ProtectedHost): void {
  for (const primary of vm.running()) {
    const config = primary.copy?.state.config
    if (config === undefined || config.second === arbiter.name || primary === arbiter) continue
    vm.changeArbiter(primary, arbiter)
    if (vm.random.chance(0.3)) continue
    const soon = vm.agenda.now + vm.random.int(30)
    if (vm.random.chance(0.2)) {
      vm.agenda.at(soon, () => vm.killPump(vm.random.chance(0.5) ? primary : vm.host(config.second)))
      continue
    }
    vm.agenda.at(soon, () => cut(vm, primary, 400 + vm.random.int(1500), vm.host(config.second)))
  }
}

/** Both live, and one of them, or each, takes the other for dead. */
function breakConnection(vm: ProtectedVm): void {
  for (const primary of vm.running()) {
    const config = primary.copy?.state.config
    if (config === undefined) continue
    const second = vm.host(config.second)
    if (vm.random.chance(0.7)) vm.breakConnection(primary, second)
    if (vm.random.chance(0.7)) vm.breakConnection(second, primary)
  }
}

function cut(vm: ProtectedVm, host: ProtectedHost, forMs: number, peer?: ProtectedHost): void {
  const other = peer ?? vm.random.pick(vm.hosts.filter((each) => each !== host))
  const isOneWay = vm.random.chance(0.4)
  vm.say(() => `${host.name} -> ${other.name} is cut${isOneWay ? ' in this direction' : ''} for ${forMs} ms`)
  const pairs = isOneWay
    ? [[host, other]]
    : [
        [host, other],
        [other, host],
      ]
  for (const [from, to] of pairs as [ProtectedHost, ProtectedHost][]) {
    vm.wires.cut(from.name, to.name)
    vm.agenda.at(vm.agenda.now + forMs, () => vm.wires.mend(from.name, to.name))
  }
}

function protectAgain(vm: ProtectedVm): void {
  const primary = vm.running().find(({ copy }) => copy?.state.phase === 'alone')
  if (primary === undefined) return
  const free = vm.random.shuffle(vm.hosts.filter((host) => host !== primary && host.isUp && host.copy === null))
  const arbiter = vm.hosts.find((host) => host !== primary && host !== free[0] && host.isUp)
  if (free[0] !== undefined && arbiter !== undefined) vm.protectAgain(primary, free[0], arbiter)
}

function mendAll(vm: ProtectedVm): void {
  vm.say(() => 'everything is mended')
  vm.wires.isCalm = true
  for (const host of vm.hosts) {
    host.isUp = true
    host.frozenUntil = 0
    for (const other of vm.hosts) vm.wires.mend(host.name, other.name)
  }
}

/** One copy runs and is heard, where a copy that may run was left and the arbiter remembers. */
function alive(vm: ProtectedVm): string[] {
  const { hosts } = vm
  const heard = hosts.filter(({ copy }) => copy?.side === 'primary' && isHeard(copy.state, vm.agenda.now))
  if (heard.length > 1) return [`${heard.map(({ name }) => name).join(' and ')} both run`]
  if (heard.length === 1) return []
  const able = hosts.filter(
    ({ copy }) => copy !== null && copy.state.phase !== 'candidate' && copy.state.phase !== 'lost',
  )
  const stalled = able.filter(
    ({ copy }) => copy !== null && vm.host(copy.state.config.arbiter).knows(copy.state.config.n),
  )
  const isLost = hosts.every(({ copy, givingAway }) => copy === null && givingAway === null)
  // Only one that was told to end, with the other's end, may leave none.
  if (isLost && vm.tally['crashes'] === undefined) return ['both copies were given up, although no host failed']
  return stalled.map(
    ({ name, copy }) =>
      `nobody runs, although ${name} (${copy?.side ?? ''}, ${copy?.state.phase ?? ''}) and its arbiter live`,
  )
}

function isHeard(state: { phase: string; cut: number; acked: number }, now: number): boolean {
  if (state.phase === 'alone') return true
  return now > 0 && state.phase === 'protecting' && state.cut - state.acked <= 4
}
