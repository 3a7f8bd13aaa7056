/**
 * A protected VM in a lab, with clients that would notice: a stream of ticks, and a ledger on its disk. A fault strikes one
 * of those who hold it; afterwards it goes on as if nothing had been, one copy runs, and it is protected again.
 */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import type { Vm } from '../../src/contracts/inventory.ts'
import { managerName, nodeFolders } from '../../src/lab/names.ts'
import { GuestLine } from './guest-line.ts'
import { Ledger } from './ledger.ts'
import type { TestLab } from './lab.ts'
import { TickStream } from './tick-stream.ts'

export const victims = [
  'primary host',
  'primary QEMU',
  'primary pump',
  'primary agent',
  'primary frozen',
  'primary storage',
  'primary storage hangs',
  'second host',
  'second QEMU',
  'second pump',
  'second agent',
  'second frozen',
  'storage link between them',
  'every link between them',
  'links to the second, one way',
  'links to the primary, one way',
  'manager',
] as const
export type Victim = (typeof victims)[number]

/** Whether the VM goes on elsewhere after such a fault; undefined: either of the two may win it. */
const takesOver: Record<Victim, boolean | undefined> = {
  'primary host': true,
  'primary QEMU': true,
  'primary pump': true,
  'primary agent': false,
  'primary frozen': true,
  'primary storage': true,
  'primary storage hangs': true,
  'second host': false,
  'second QEMU': false,
  'second pump': false,
  'second agent': false,
  'second frozen': false,
  'storage link between them': undefined,
  'every link between them': undefined,
  'links to the second, one way': undefined,
  'links to the primary, one way': undefined,
  manager: false,
}

/** The number of its configuration; 0: it has none. */
function nOf({ protection }: Vm): number {
  return protection.state === 'protected' ? protection.n : 0
}

/** Whether its configuration ends with it, so that another one protects it afterwards. */
function breaksPair(victim: Victim): boolean {
  return victim !== 'primary agent' && victim !== 'second agent' && victim !== 'manager'
}

/** How long a frozen host stays so, or a link cut: longer than anybody's patience. */
const faultMs = 2500
const patienceMs = 120_000

export interface Struck {
  readonly victim: Victim
  readonly from: string
  readonly to: string
  /** Of the stream of ticks, milliseconds. */
  readonly longestSilence: number
}

export class ProtectedVm implements Disposable {
  readonly #lab: TestLab
  readonly #name: string
  readonly #ticks: TickStream
  readonly #ledger: Ledger

  private constructor(lab: TestLab, name: string, ticks: TickStream, ledger: Ledger) {
    this.#lab = lab
    this.#name = name
    this.#ticks = ticks
    this.#ledger = ledger
  }

  static async open(lab: TestLab, name: string, memoryMiB = 96): Promise<ProtectedVm> {
    const disk = { sizeBytes: 64 * 2 ** 20, datastore: 'shared' }
    const vm = await lab.createVm({ name, memoryMiB, video: 'none', disks: [disk] })
    const address = vm.addresses[0] ?? ''
    const ticks = await TickStream.open(lab, address)
    const line = await GuestLine.open(lab, vm.id)
    const ledger = await Ledger.open(lab, line, address)
    line[Symbol.dispose]()
    await lab.finish(await lab.client.call('protectVm', { params: { vm: vm.id }, body: {} }))
    const own = new ProtectedVm(lab, name, ticks, ledger)
    await own.untilProtected()
    return own
  }

  vm(): Promise<Vm> {
    return this.#lab.vm(this.#name)
  }

  /** Protected, and where it is by everybody's word; `before`: by another pair than then. */
  async untilProtected(before?: Vm): Promise<Vm> {
    let last: unknown
    const look = async (): Promise<Vm | false> => {
      const vm = await this.vm()
      last = { state: vm.state, host: vm.host, operation: vm.operation, protection: vm.protection, run: vm.run }
      const isProtected = vm.protection.state === 'protected' && nOf(vm) > (before === undefined ? 0 : nOf(before))
      return vm.state === 'running' && vm.operation === null && isProtected && vm
    }
    return await this.#lab.eventually('it is protected', look, patienceMs).catch((cause: unknown) => {
      throw new Error(`it is not protected: ${JSON.stringify(last)}`, { cause })
    })
  }

  /** Strikes, looks that its clients go on, heals, and waits until it is protected again. */
  async strike(victim: Victim): Promise<Struck> {
    const before = await this.untilProtected()
    const [primary, second] = [before.host ?? '', secondOf(before)]
    this.#ticks.forget()
    await this.#hit(victim, before.id, primary, second)
    await this.#ticks.assertWhole(this.#lab)
    await this.#ledger.goesOn(this.#lab, 10)
    const { longestSilence } = this.#ticks
    await this.#lab.heal()
    const after = await this.untilProtected(breaksPair(victim) ? before : undefined)
    const wanted = takesOver[victim]
    if (wanted !== undefined)
      assert.equal(after.host !== primary, wanted, `it was on ${primary} and is on ${after.host}`)
    await this.oneCopy(after)
    await this.#ticks.assertWhole(this.#lab)
    return { victim, from: primary, to: after.host ?? '', longestSilence }
  }

  /** What was acknowledged is on the disk. */
  async verify(): Promise<void> {
    const { id } = await this.vm()
    using line = await GuestLine.open(this.#lab, id)
    await this.#ledger.verify(line)
  }

  get acknowledged(): number {
    return this.#ledger.acknowledged
  }

  get ticks(): number {
    return this.#ticks.count
  }

  async #hit(victim: Victim, vm: string, primary: string, second: string): Promise<void> {
    const lab = this.#lab
    switch (victim) {
      case 'primary host':
        return lab.crash(primary)
      case 'second host':
        return lab.crash(second)
      case 'primary frozen':
      case 'second frozen': {
        const host = victim === 'primary frozen' ? primary : second
        await lab.freeze(host)
        await lab.ports.clock.sleep(faultMs)
        return lab.thaw(host)
      }
      case 'primary storage':
        return lab.storageCut(primary, 'fail')
      case 'primary storage hangs':
        return lab.storageCut(primary, 'hang')
      case 'primary QEMU':
      case 'second QEMU':
        return this.#kill(victim === 'primary QEMU' ? primary : second, vm, 'machine.json')
      case 'primary pump':
      case 'second pump':
        return this.#kill(victim === 'primary pump' ? primary : second, vm, 'pump.json')
      case 'primary agent':
      case 'second agent': {
        const host = victim === 'primary agent' ? primary : second
        return lab.kill(host, await lab.processesOf(host, /main\.ts agent run/))
      }
      case 'manager':
        return lab.kill(managerName, await lab.processesOf(managerName, /main\.ts manager run/))
      case 'storage link between them':
        return this.#cut({ hosts: [primary], from: [second], network: 'storage', isOneWay: false })
      case 'every link between them':
        return this.#cut({ hosts: [primary], from: [second], isOneWay: false })
      case 'links to the second, one way':
        return this.#cut({ hosts: [primary], from: [second], isOneWay: true })
      case 'links to the primary, one way':
        return this.#cut({ hosts: [second], from: [primary], isOneWay: true })
    }
  }

  async #cut(cut: Parameters<TestLab['partition']>[0]): Promise<void> {
    await this.#lab.partition(cut)
    await this.#lab.ports.clock.sleep(faultMs)
  }

  async #kill(host: string, vm: string, file: 'machine.json' | 'pump.json'): Promise<void> {
    const path = `${nodeFolders(this.#lab.lab.folder, host).run}/vms/${vm}/${file}`
    const { process: id } = JSON.parse(readFileSync(path, 'utf8')) as { process: { pid: number } }
    await this.#lab.kill(host, [id.pid])
  }

  /** One QEMU of it on its host, one on the second's, and none elsewhere. */
  async oneCopy(seen?: Vm): Promise<void> {
    const vm = seen ?? (await this.vm())
    const wanted = [vm.host ?? '', secondOf(vm)].toSorted()
    let found: string[] = []
    const look = async (): Promise<boolean> => {
      found = []
      for (const host of this.#lab.hosts) {
        const pids = await this.#lab.processesOf(host, new RegExp(`qemu-system-x86_64 .*${vm.uuid}`))
        found.push(...pids.map(() => host))
      }
      return found.join() === wanted.join()
    }
    await this.#lab.eventually(`its copies are on ${wanted.join()}`, look, 30_000).catch((cause: unknown) => {
      throw new Error(`its copies are on ${found.join()}, not on ${wanted.join()}`, { cause })
    })
  }

  [Symbol.dispose](): void {
    this.#ticks[Symbol.dispose]()
    this.#ledger[Symbol.dispose]()
  }
}

function secondOf(vm: Vm): string {
  assert.ok(vm.protection.state === 'protected', JSON.stringify(vm.protection))
  return vm.protection.second
}

/** The last words of the pumps of a VM on a host; none where there were none. */
export function pumpLog(lab: TestLab, vm: string, host: string): readonly string[] {
  const path = `${nodeFolders(lab.lab.folder, host).run}/vms/${vm}/pump.log`
  return existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n').slice(-12) : []
}

/** The same, on every host. */
export function pumpLogs(lab: TestLab, vm: string): string {
  return lab.hosts
    .map((host) => ({ host, words: pumpLog(lab, vm, host) }))
    .filter(({ words }) => words.length > 0)
    .map(({ host, words }) => `${host}: ${words.join('\n')}`)
    .join('\n')
}
