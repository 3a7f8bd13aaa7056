/**
 * What QEMU alone takes to stop a guest, save its devices and let it go on, by how its virtio devices can be driven: the three
 * commands in one breath, and each by itself.
 *
 *   ./dev/bench standstill --rounds 150
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { machineRecord, openControl } from '../src/agent/protect/pump/qemu-of-vm.ts'
import { nodeStreams } from '../src/base/node/index.ts'
import { readDevices, saveDevices } from '../src/hypervisor/checkpoint/device-state.ts'
import type { MachineConfig } from '../src/hypervisor/hypervisor.ts'
import { deps, TestHost } from '../test/qemu/hypervisor-guest.ts'
import { largeCpuShare } from './support/cpu-share.ts'
import { numberOptions, Report } from './support/report.ts'

const { rounds } = numberOptions({ rounds: 150 })
await using _share = await largeCpuShare('standstill')
const report = new Report('standstill', { rounds, accelerator: 'tcg' })
const lanes: Record<string, MachineConfig['virtio']> = {
  'channels, random source and two disks, all transitional': undefined,
  'the first two by virtio 0.9.5 alone': 'transitional',
  'all four so': 'legacy',
}
const steps = ['all at once', 'stop', 'save', 'cont'] as const
type Step = (typeof steps)[number]
const took = new Map<Step, { name: string; values: number[] }[]>(steps.map((step) => [step, []]))
const sizes: { name: string; values: number[] }[] = []
for (const [name, virtio] of Object.entries(lanes)) await measure(name, virtio)
for (const [step, rows] of took) report.add({ title: step, unit: 'ms', base: rows[0]?.name ?? '', rows })
report.add({ title: 'the saved state', unit: 'KB', base: sizes[0]?.name ?? '', rows: sizes })
await report.write()

async function measure(name: string, virtio: MachineConfig['virtio']): Promise<void> {
  await using host = await TestHost.open()
  const config = await host.config('a')
  const { runDirectory } = config
  const disks: MachineConfig['disks'][number][] = []
  for (const [at, slot] of ['8', '9'].entries()) {
    const path = `${host.folder}/disk-${at}`
    await deps.files.write(path, '')
    await using file = await deps.files.open(path, 'read-write')
    await file.truncate(64 * 2 ** 20)
    disks.push({ key: at + 1, path, format: 'raw', bus: 'virtio', slot, cache: 'writeback' })
  }
  await host.boot({ ...config, virtio, disks, video: 'std' })
  const ports = { ...deps, streams: nodeStreams() }
  const qmp = await openControl(ports, await machineRecord(deps.files, runDirectory))
  const timed = async (step: Step, work: () => Promise<unknown>): Promise<void> => {
    const began = performance.now()
    await work()
    const rows = took.get(step) ?? []
    const row = rows.find((one) => one.name === name) ?? { name, values: [] }
    if (!rows.includes(row)) rows.push(row)
    row.values.push(performance.now() - began)
  }
  for (let round = 0; round < rounds; round++) {
    await timed('all at once', () =>
      Promise.all([qmp.execute('stop'), saveDevices(qmp, runDirectory), qmp.execute('cont')]),
    )
    await sleep(20)
    await timed('stop', () => qmp.execute('stop'))
    await timed('save', () => saveDevices(qmp, runDirectory))
    await timed('cont', () => qmp.execute('cont'))
    await sleep(20)
  }
  sizes.push({ name, values: [(await readDevices(deps.files, runDirectory)).length / 1000] })
  qmp.close()
}
