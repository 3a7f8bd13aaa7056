/**
 * `holdfast lab demo ft`: a protected VM, a client that listens to its clock, and the host on which it runs dies. On a lab
 * that is up; it makes one small VM, which stays, and boots the host again whatever happens.
 */
import type { Duplex } from 'node:stream'
import { HoldfastError } from '../base/errors.ts'
import type { Client } from '../contracts/client.ts'
import type { Task, Vm } from '../contracts/inventory.ts'
import { finish, importGuest, made, storageOf } from './cluster.ts'
import { checkHosts, demoVm, liveWords, wholeWords, type FtResult } from './demo-ft-words.ts'
import { afterSilenceMs, drawGap } from './gap-chart.ts'
import { smallGuest } from './guest.ts'
import type { Lab } from './lab.ts'
import type { LiveLine, Screen } from './live-line.ts'
import { TickLog, type Silence } from './tick-log.ts'
import { connectRunning } from './up.ts'

const tickPort = 7001
const memoryMiB = 96
const diskMiB = 64
const watchMs = 3000
const frameMs = 100
const patienceMs = 180_000
const bootMs = 60_000
/** A guest that nobody goes on with is silent for ever; one that is slow to go on is not so slow. */
const deadSilenceMs = 30_000
/** So many ticks after the crash are no leftovers of before. */
const goesOnTicks = 20

export interface DemoSurroundings {
  readonly screen: Screen
  readonly connectTcp: (host: string, port: number) => Duplex
  /** Whether the host may be crashed. */
  readonly confirm: (question: string) => Promise<boolean>
  /** Ctrl-C. */
  readonly signal: AbortSignal
}

/** Undefined when a person would not have the host crashed. Throws the signal's reason after Ctrl-C. */
export async function demoFt(lab: Lab, line: LiveLine, outside: DemoSurroundings): Promise<FtResult | undefined> {
  const { client } = await connectRunning(lab)
  checkHosts((await client.call('listHosts')).items)
  return await new FtDemo(lab, client, line, outside).run()
}

class FtDemo {
  readonly #lab: Lab
  readonly #client: Client
  readonly #line: LiveLine
  readonly #outside: DemoSurroundings

  constructor(lab: Lab, client: Client, line: LiveLine, outside: DemoSurroundings) {
    this.#lab = lab
    this.#client = client
    this.#line = line
    this.#outside = outside
  }

  async run(): Promise<FtResult | undefined> {
    await this.#makeVm()
    let vm = await this.#protectVm()
    const address = vm.addresses[0] ?? ''
    using ticks = await this.#listen(address)
    this.#line.say(`a client hears its ticks from ${address}:${tickPort}, one each 5 ms`)
    const usual = await this.#watch(ticks, vm)
    if (!(await this.#outside.confirm(`Crash ${vm.host}, on which ${demoVm} runs?`))) return undefined
    // A person may have taken their time.
    vm = await this.#untilProtected(ticks)
    return await this.#crash(vm, ticks, usual)
  }

  get #now(): number {
    return this.#lab.ports.clock.monotonic()
  }

  async #find(): Promise<Vm | undefined> {
    const { signal } = this.#outside
    return (await this.#client.call('listVms', { query: { name: demoVm } }, { signal })).items[0]
  }

  #finish(task: Task): Promise<Task> {
    return finish(this.#lab, this.#client, task, { signal: this.#outside.signal })
  }

  async #makeVm(): Promise<void> {
    const vm = await this.#find()
    if (vm !== undefined) {
      this.#line.say(`VM ${demoVm} is there already`)
      if (vm.state === 'stopped')
        await this.#finish(await this.#client.call('startVm', { params: { vm: vm.id }, body: {} }))
      return
    }
    const say = (text: string): void => this.#line.say(text)
    const state = await this.#lab.existing()
    const guest = await smallGuest(this.#lab.ports, say)
    await importGuest(this.#lab, state, this.#client, guest, say)
    const datastore = storageOf(state)
    say(`VM ${demoVm}: 1 vCPU, ${memoryMiB} MiB, a disk of ${diskMiB} MiB on ${datastore}`)
    const body = {
      name: demoVm,
      memoryMiB,
      video: 'none' as const,
      disks: [{ sizeBytes: diskMiB * 2 ** 20, datastore }],
      nics: [{ network: made.network }],
      kernel: { kernel: made.kernel, initrd: made.initrd, cmdline: guest.cmdline },
      start: true,
    }
    await this.#finish(await this.#client.call('createVm', { body }))
  }

  async #protectVm(): Promise<Vm> {
    const runs = await this.#until(
      `${demoVm} runs`,
      ({ state, operation }) => state === 'running' && operation === null,
    )
    if (runs.protection.state === 'unprotected')
      await this.#finish(await this.#client.call('protectVm', { params: { vm: runs.id }, body: {} }))
    const vm = await this.#untilProtected()
    if (vm.protection.state === 'protected') {
      const { second, arbiter } = vm.protection
      this.#line.say(
        `${vm.host} runs it, ${second} holds its second copy, ${arbiter} decides when they lose each other`,
      )
    }
    return vm
  }

  #untilProtected(ticks?: TickClient): Promise<Vm> {
    const isProtected = ({ state, operation, protection }: Vm): boolean =>
      state === 'running' && operation === null && protection.state === 'protected'
    return this.#until(`${demoVm} is protected`, isProtected, ticks)
  }

  /** Shows how it is until it is so. */
  async #until(what: string, isSo: (vm: Vm) => boolean, ticks?: TickClient, timeoutMs = patienceMs): Promise<Vm> {
    const end = this.#now + timeoutMs
    for (;;) {
      const vm = await this.#find()
      if (vm !== undefined && isSo(vm)) return vm
      if (vm !== undefined) this.#line.show(liveWords(vm, ticks?.log, this.#now))
      if (this.#now > end) {
        const how = vm === undefined ? 'there is no such VM' : `its state is ${vm.state}, ${vm.protection.state}`
        throw new HoldfastError('timeout', `not within ${timeoutMs / 1000} s: ${what} (${how})`, {
          mend: `See \`holdfast vm show ${demoVm}\` and docs/runbooks/protection-stuck.md.`,
        })
      }
      await this.#pause(frameMs)
    }
  }

  #pause(ms: number): Promise<void> {
    return this.#lab.ports.clock.sleep(ms, this.#outside.signal)
  }

  /** A client of a guest that may still be booting. */
  async #listen(address: string): Promise<TickClient> {
    const end = this.#now + bootMs
    this.#line.show(`waiting for the first tick from ${address}:${tickPort}`)
    for (;;) {
      using own = new DisposableStack()
      const ticks = own.use(new TickClient(this.#outside.connectTcp(address, tickPort), () => this.#now))
      const until = this.#now + 2000
      while (ticks.log.ticks < 3 && ticks.ended === undefined && this.#now < until) await this.#pause(20)
      if (ticks.log.ticks >= 3) {
        own.move()
        return ticks
      }
      if (this.#now > end) {
        throw new HoldfastError('wrong-state', `no tick comes from ${demoVm} (${address}:${tickPort})`, {
          mend: `If it is not the lab's own small guest, rename it or \`holdfast vm delete ${demoVm}\`, and try again.`,
        })
      }
      await this.#pause(frameMs)
    }
  }

  /** Some seconds in which nothing happens; the longest silence of them. */
  async #watch(ticks: TickClient, vm: Vm): Promise<number> {
    const from = this.#now
    while (this.#now < from + watchMs) {
      await this.#pause(frameMs)
      this.#line.show(liveWords(vm, ticks.log, this.#now))
    }
    return lengthOf(ticks.log.longestSilence(from, this.#now))
  }

  async #crash(vm: Vm, ticks: TickClient, usualSilenceMs: number): Promise<FtResult> {
    const from = vm.host ?? ''
    const crashedAt = this.#now
    let silence: Silence
    let to: string
    try {
      await this.#lab.crash(from)
      this.#line.say(`${from} is dead`)
      silence = await this.#throughSilence(ticks, from, crashedAt)
      const moved = ({ state, host }: Vm): boolean => state === 'running' && host !== from
      to = (await this.#until(`the manager knows who runs ${demoVm}`, moved, ticks)).host ?? ''
      this.#line.say(`${to} runs it now; ${wholeWords(ticks.log)}`)
      this.#line.print(
        `\n${drawGap({ arrivals: ticks.log.arrivals, silence, from, to }, this.#outside.screen.columns())}\n`,
      )
    } finally {
      // Ctrl-C too leaves the lab as it was.
      await this.#lab.boot(from)
      this.#line.say(`${from} is booted again`)
    }
    const after = await this.#untilProtected(ticks)
    const { log } = ticks
    const protectedAgainMs = Math.round(this.#now - crashedAt)
    this.#line.say(`protected again after ${(protectedAgainMs / 1000).toFixed(1)} s; ${wholeWords(log)}`)
    return {
      ...{ name: demoVm, from, to, silenceMs: lengthOf(silence), usualSilenceMs },
      ...{ ticks: log.ticks, ticksLost: log.lost + log.broken, ticksRepeated: log.repeated, protectedAgainMs },
      second: after.protection.state === 'protected' ? after.protection.second : '',
    }
  }

  /** Shows the silence as it grows, until ticks come again. Throws when they do not. */
  async #throughSilence(ticks: TickClient, from: string, crashedAt: number): Promise<Silence> {
    const { log } = ticks
    const before = log.ticks
    while (log.ticks < before + goesOnTicks) {
      const silenceMs = Math.round(log.silenceMs(this.#now))
      this.#line.show(`${from} is dead: silence for ${silenceMs} ms`)
      if (ticks.ended !== undefined || silenceMs > deadSilenceMs) {
        const why = ticks.ended ?? `no tick came for ${deadSilenceMs / 1000} s`
        throw new HoldfastError('host-error', `${demoVm} did not go on after ${from} died: ${why}`, {
          mend: `See \`holdfast vm show ${demoVm}\`, docs/runbooks/protection-stuck.md, and the pumps' logs in ${this.#lab.folder}/hosts/*/run/vms/*/pump.log.`,
        })
      }
      await this.#pause(frameMs / 4)
    }
    const silence = log.longestSilence(crashedAt, this.#now)
    while (this.#now < silence.to + afterSilenceMs) await this.#pause(frameMs / 4)
    return silence
  }
}

/** The client's end of its one connection. */
class TickClient implements Disposable {
  readonly log = new TickLog()
  readonly #stream: Duplex
  /** Why the connection is no more. */
  ended: string | undefined

  constructor(stream: Duplex, now: () => number) {
    this.#stream = stream
    stream.on('data', (data: Buffer) => this.log.hear(data.toString('latin1'), now()))
    stream.on('error', (error) => (this.ended ??= error.message))
    stream.on('close', () => (this.ended ??= 'the connection was closed'))
  }

  [Symbol.dispose](): void {
    this.#stream.destroy()
  }
}

function lengthOf({ from, to }: Silence): number {
  return Math.round(to - from)
}
