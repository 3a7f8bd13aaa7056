/**
 * From the wish to start a VM until QEMU runs the guest: Holdfast from the REST call until its QEMU's RESUME, beside bare
 * QEMU with the same command line from its start until the same RESUME (tap made, control socket opened, `cont` told).
 *
 *   ./dev/bench vm-start --runs 10
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { BareGuest } from './support/bare-lane.ts'
import { BenchLab } from './support/bench-lab.ts'
import { largeCpuShare } from './support/cpu-share.ts'
import { BenchQmp } from './support/qmp.ts'
import { median, numberOptions, Report } from './support/report.ts'

const { runs } = numberOptions({ runs: 10 })
await using _share = await largeCpuShare('start')
await using lab = await BenchLab.open('start', 2)
const folder = await mkdtemp('/var/tmp/hfs')
await using _folder = { [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }) }
const report = new Report('vm-start', { runs, accelerator: 'tcg', memoryMiB: 128 })

const { client } = lab.lab
const vm = await lab.lab.createVm({ name: 'start', nics: [{ network: 'default' }] })
const host = vm.host ?? ''
const [pid = 0] = await lab.lab.qemus(host)
const like = (await lab.lab.ports.files.readText(`/proc/${pid}/cmdline`)).split('\0').slice(0, -1)
await stop()

const own: number[] = []
const answered: number[] = []
const bare: number[] = []
for (let round = 0; round <= runs; round++) {
  const started = await startOwn()
  await stop()
  const alone = await BareGuest.startAlone({ lab, like, folder: `${folder}/bare` }, host)
  // The first of each fills caches of files.
  if (round === 0) continue
  own.push(started.runsMs)
  answered.push(started.doneMs)
  bare.push(alone)
}
const base = 'bare QEMU'
const rows = [
  { name: 'Holdfast', values: own },
  { name: base, values: bare },
  { name: 'Holdfast, the task is done', values: answered },
]
report.add({ title: 'start until the guest runs', unit: 'ms', base, rows })
report.fact('more than bare QEMU, median, ms', Math.round(median(own) - median(bare)))
await report.write()

/** Milliseconds from the REST call to RESUME, and to the end of the task. */
async function startOwn(): Promise<{ runsMs: number; doneMs: number }> {
  const over = new AbortController()
  const runs = firstRun(over.signal)
  runs.catch(() => undefined)
  const began = Date.now()
  const monotonic = performance.now()
  const task = await client.call('startVm', { params: { vm: vm.id }, body: { host } })
  await lab.lab.finish(task)
  const doneMs = performance.now() - monotonic
  const runsMs = (await runs) - began
  over.abort()
  return { runsMs, doneMs }
}

/** When QEMU first said RESUME, milliseconds since the epoch. */
async function firstRun(signal: AbortSignal): Promise<number> {
  const path = `${lab.runFolder(host)}/vms/${vm.id}/q/qmp2`
  for (;;) {
    using qmp = await BenchQmp.open(path).catch(() => undefined)
    if (qmp !== undefined) {
      await qmp.until('RESUME')
      return qmp.when('RESUME') ?? Number.NaN
    }
    await sleep(2, undefined, { signal })
  }
}

async function stop(): Promise<void> {
  await lab.lab.finish(await client.call('stopVm', { params: { vm: vm.id }, body: {} }))
}
