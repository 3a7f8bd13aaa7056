/**
 * What an epoch costs as a guest writes more memory and has more of it: the pause, the share of the time in which it stands
 * still, what goes over the network, and what the processes that hold it in step take on both hosts.
 *
 *   ./dev/bench protect-cost --seconds 8            guests of 256 MiB
 *   ./dev/bench protect-cost --seconds 8 --more 1   of 256 MiB, 1, 2 and 4 GiB
 *   ./dev/bench protect-cost --legacy 1             with devices of virtio 0.9.5 alone
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { BenchLab } from './support/bench-lab.ts'
import { largeCpuShare } from './support/cpu-share.ts'
import { cpuSeconds, residentMiB } from './support/process-usage.ts'
import { median, numberOptions, Report } from './support/report.ts'
import { GuestLine } from '../test/support/guest-line.ts'

const { seconds, more, legacy } = numberOptions({ seconds: 8, more: 0, legacy: 0 })
const virtio = legacy === 0 ? 'transitional' : 'legacy'
const memories = more === 0 ? [256] : [256, 1024, 2048, 4096]
/** Pages that the guest writes again and again, as fast as it is told. */
const loads = { idle: 0, '1,000 pages, ten times a second': 1000, '10,000 pages, ten times a second': 10_000 }
const output = { silent: false, 'sends a line each 5 ms': true }
const sampleMs = 200

await using _share = await largeCpuShare('protect-cost')
await using bench = await BenchLab.open('cost', 3)
const { lab } = bench
const report = new Report('protect-cost', { seconds, accelerator: 'tcg', virtio })

const columns = [
  'pause',
  'epoch',
  'still',
  'sent',
  'heldBack',
  'primaryCpu',
  'secondCpu',
  'primaryMiB',
  'secondMiB',
] as const
type Sample = Record<(typeof columns)[number], number[]>
const samples = new Map<string, Sample>()
const syncs: { name: string; values: number[] }[] = []
for (const memoryMiB of memories) await measureGuest(memoryMiB)

const rows = (column: keyof Sample) => [...samples].map(([name, sample]) => ({ name, values: sample[column] }))
const base = [...samples.keys()][0] ?? ''
report.add({ title: 'pause of an epoch', unit: 'ms', base, rows: rows('pause') })
report.add({ title: 'time between epochs', unit: 'ms', base, rows: rows('epoch') })
report.add({
  title: 'share of the time in which the guest stands still for epochs',
  unit: '%',
  base,
  rows: rows('still'),
})
report.add({ title: 'share of the time in which it is held back', unit: '%', base: '', rows: rows('heldBack') })
report.add({ title: 'sent to the second host', unit: 'KiB/s', base, rows: rows('sent') })
report.add({ title: 'CPU of the pump on the primary', unit: '% of a core', base, rows: rows('primaryCpu') })
report.add({ title: 'CPU of the pump on the second', unit: '% of a core', base, rows: rows('secondCpu') })
report.add({ title: 'resident memory of the pump on the primary', unit: 'MiB', base, rows: rows('primaryMiB') })
report.add({ title: 'resident memory of the pump on the second', unit: 'MiB', base, rows: rows('secondMiB') })
report.add({ title: 'until protected', unit: 'ms', base: '', rows: syncs })
await report.write()

async function measureGuest(memoryMiB: number): Promise<void> {
  const name = `held${memoryMiB}`
  const { id, addresses } = await lab.createVm({ name, memoryMiB, video: 'none', virtio })
  const began = performance.now()
  await lab.finish(await lab.client.call('protectVm', { params: { vm: id }, body: {} }))
  syncs.push({ name: `${memoryMiB} MiB`, values: [performance.now() - began] })
  const pids = await pumps(name, id)
  using line = await GuestLine.open(lab, id)
  await line.run('[ -f /tmp/blob ] || dd if=/dev/urandom of=/tmp/blob bs=4k count=10000 2>/dev/null')
  for (const [load, pages] of Object.entries(loads)) {
    if (pages > 0)
      await line.run(
        `(while [ ! -f /tmp/enough ]; do dd if=/tmp/blob of=/tmp/copy bs=4k count=${pages} conv=notrunc; usleep 100000; done >/dev/null 2>&1 &)`,
      )
    for (const [how, isSending] of Object.entries(output)) {
      const title = `${memoryMiB} MiB, ${load}, ${how}`
      samples.set(title, await observe(name, pids, isSending ? (addresses[0] ?? '') : undefined))
      process.stdout.write(`${title}: pause ${median(samples.get(title)?.pause ?? []).toFixed(1)} ms\n`)
    }
    await line.run('touch /tmp/enough; sleep 1; rm /tmp/enough')
  }
  await lab.finish(await lab.client.call('unprotectVm', { params: { vm: id }, body: {} }))
  await lab.finish(await lab.client.call('stopVm', { params: { vm: id }, body: {} }))
}

/** The processes that hold a VM in step. */
async function pumps(name: string, vm: string): Promise<{ primary: number; second: number }> {
  const { host } = await lab.vm(name)
  const found = { primary: 0, second: 0 }
  for (const one of lab.hosts) {
    const [pid] = await lab.processesOf(one, new RegExp(`/pump/main\\.ts .*/${vm}/`))
    if (pid !== undefined) found[one === host ? 'primary' : 'second'] = pid
  }
  return found
}

async function observe(
  name: string,
  { primary, second }: { primary: number; second: number },
  address: string | undefined,
): Promise<Sample> {
  const sample = Object.fromEntries(columns.map((column) => [column, [] as number[]])) as Sample
  using _client = address === undefined ? undefined : await listener(address)
  // Figures are medians of late epochs: those of the load before are to be gone.
  await sleep(seconds * 1000)
  const before = [await cpuSeconds(primary), await cpuSeconds(second)] as const
  const from = performance.now()
  while (performance.now() - from < seconds * 1000) {
    await sleep(sampleMs)
    const { protection } = await lab.vm(name)
    if (protection.state !== 'protected') throw new Error(`${name} is ${JSON.stringify(protection)}`)
    const { pauseMs, epochMs, bytesPerSecond, heldBack } = protection
    sample.pause.push(pauseMs ?? Number.NaN)
    sample.epoch.push(epochMs ?? Number.NaN)
    sample.still.push(((pauseMs ?? Number.NaN) / (epochMs ?? Number.NaN)) * 100)
    sample.sent.push((bytesPerSecond ?? Number.NaN) / 1024)
    sample.heldBack.push((heldBack ?? Number.NaN) * 100)
  }
  const passed = (performance.now() - from) / 1000
  sample.primaryCpu.push((((await cpuSeconds(primary)) - before[0]) / passed) * 100)
  sample.secondCpu.push((((await cpuSeconds(second)) - before[1]) / passed) * 100)
  sample.primaryMiB.push(await residentMiB(primary))
  sample.secondMiB.push(await residentMiB(second))
  return sample
}

/** Reads the guest's ticking stream. */
async function listener(address: string): Promise<Disposable> {
  const { connect } = await import('node:net')
  const socket = connect({ host: address, port: 7001, noDelay: true })
  socket.on('error', () => undefined).resume()
  return { [Symbol.dispose]: () => void socket.destroy() }
}
