/**
 * What it costs to be held in step on two hosts, and what it gives: the same guest unprotected and protected, in turn, on the
 * same hosts; then its host is crashed, again and again.
 *
 *   ./dev/bench protect --runs 3 --memory 256
 *   ./dev/bench protect --runs 3 --legacy 1         with devices of virtio 0.9.5 alone
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { GuestLine } from '../test/support/guest-line.ts'
import { TickStream } from '../test/support/tick-stream.ts'
import type { Vm } from '../src/contracts/inventory.ts'
import { BenchLab } from './support/bench-lab.ts'
import { largeCpuShare } from './support/cpu-share.ts'
import { median, numberOptions, Report, type Row } from './support/report.ts'
import { p99, roundTrips } from './support/round-trips.ts'

const { runs, memory, legacy } = numberOptions({ runs: 3, memory: 256, legacy: 0 })
const virtio = legacy === 0 ? 'transitional' : 'legacy'
await using _share = await largeCpuShare('protect')
await using bench = await BenchLab.open('protect', 3)
const { lab } = bench
const { client } = lab
const report = new Report('protect', { runs, accelerator: 'tcg', memoryMiB: memory, virtio })

const disks = [{ sizeBytes: 64 * 2 ** 20, datastore: 'shared' }]
const { id, addresses } = await lab.createVm({ name: 'held', memoryMiB: memory, video: 'none', virtio, disks })
const address = addresses[0] ?? ''
// It has booted when it ticks; what listens on would keep it busy.
;(await TickStream.open(lab, address))[Symbol.dispose]()

/** Work inside of the guest, by its own clock and by ours. */
const works = {
  'a CPU loop': 'i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done',
  'gzip of 4 MiB': 'dd if=/tmp/blob bs=1M count=4 2>/dev/null | gzip -1 >/dev/null',
  '60 writes of 4 KiB, each flushed':
    'i=0; while [ $i -lt 60 ]; do dd if=/tmp/blob of=/dev/vda bs=4k count=1 seek=$i conv=notrunc,fsync 2>/dev/null; i=$((i+1)); done',
} as const
type Work = keyof typeof works
const names = Object.keys(works) as Work[]

const lanes = ['unprotected', 'protected', 'protected, for throughput'] as const
type Lane = (typeof lanes)[number]
const times: Record<Lane, Record<string, number[]>> = {
  unprotected: {},
  protected: {},
  'protected, for throughput': {},
}
/** What runs for the first time is translated first: that is nobody's measure. */
await measure('unprotected')
times.unprotected = {}
const syncs: number[] = []
const pauses: number[] = []
const epochs: number[] = []
const rates: number[] = []
for (let round = 0; round < runs; round++) {
  await measure('unprotected')
  const began = performance.now()
  await lab.finish(await client.call('protectVm', { params: { vm: id }, body: { mode: 'latency' } }))
  await protectedVm()
  syncs.push(performance.now() - began)
  // Without a client that listens nothing has to leave: the guest is idle.
  await sleep(3000)
  const idle = await protectedVm()
  if (idle.protection.state === 'protected') {
    pauses.push(idle.protection.pauseMs ?? Number.NaN)
    epochs.push(idle.protection.epochMs ?? Number.NaN)
    rates.push((idle.protection.bytesPerSecond ?? Number.NaN) / 1024)
  }
  await measure('protected')
  await lab.finish(await client.call('unprotectVm', { params: { vm: id }, body: {} }))
  await lab.finish(await client.call('protectVm', { params: { vm: id }, body: { mode: 'throughput' } }))
  await protectedVm()
  await measure('protected, for throughput')
  await lab.finish(await client.call('unprotectVm', { params: { vm: id }, body: {} }))
}

for (const what of [...names, 'request and answer, median', 'request and answer, p99']) {
  const unit = what.startsWith('request') ? 'ms' : 's'
  const row = (name: Lane): Row => ({ name, values: times[name][what] ?? [] })
  report.add({ title: what, unit, base: 'unprotected', rows: lanes.map(row) })
}
report.add({ title: 'until protected', unit: 'ms', base: '', rows: [{ name: 'first copy', values: syncs }] })
report.add({
  title: 'pause of an epoch, idle',
  unit: 'ms',
  base: '',
  rows: [{ name: 'median of late ones', values: pauses }],
})
report.add({
  title: 'time between epochs, idle',
  unit: 'ms',
  base: '',
  rows: [{ name: 'median of late ones', values: epochs }],
})
report.add({ title: 'sent to the second, idle', unit: 'KiB/s', base: '', rows: [{ name: 'rate', values: rates }] })

await takeovers()
await report.write()

async function measure(name: Lane): Promise<void> {
  const note = (what: string, value: number): void => void (times[name][what] ??= []).push(value)
  using line = await GuestLine.open(lab, id)
  await line.run('[ -f /tmp/blob ] || dd if=/dev/urandom of=/tmp/blob bs=1M count=4 2>/dev/null')
  for (const work of names) {
    const began = performance.now()
    await line.run(works[work], 180_000)
    note(work, (performance.now() - began) / 1000)
  }
  const trips = await roundTrips(address, (done) => done === 200)
  note('request and answer, median', median(trips))
  note('request and answer, p99', p99(trips))
}

async function protectedVm(): Promise<Vm> {
  return await lab.eventually(
    'protected',
    async () => {
      const vm = await lab.vm('held')
      return vm.protection.state === 'protected' && vm.operation === null && vm
    },
    180_000,
  )
}

/** What a client sees when the host dies: the longest silence in a stream that ticks each 5 ms. */
async function takeovers(): Promise<void> {
  await lab.finish(await client.call('protectVm', { params: { vm: id }, body: { mode: 'latency' } }))
  const silences: Record<string, number[]> = {
    'its QEMU is killed': [],
    'its host is crashed': [],
    'its host is frozen': [],
  }
  using ticks = await TickStream.open(lab, address)
  const quiet: number[] = []
  for (const what of Object.keys(silences)) {
    for (let round = 0; round < runs; round++) {
      const { host } = await protectedVm()
      ticks.forget()
      await sleep(2000)
      quiet.push(ticks.longestSilence)
      ticks.forget()
      if (what === 'its QEMU is killed') await lab.kill(host ?? '', await lab.qemus(host ?? ''))
      else if (what === 'its host is crashed') await lab.crash(host ?? '')
      else await lab.freeze(host ?? '')
      await ticks.assertWhole(lab)
      await sleep(1500)
      silences[what]?.push(ticks.longestSilence)
      await lab.heal()
    }
  }
  const rows = [{ name: 'protected, nothing happens', values: quiet }]
  for (const [name, values] of Object.entries(silences)) rows.push({ name, values })
  report.add({ title: 'longest silence of a stream', unit: 'ms', base: 'protected, nothing happens', rows })
}
