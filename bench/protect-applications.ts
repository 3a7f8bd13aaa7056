/**
 * What real applications in a real Debian lose when it is held in step on two hosts: nginx with 64 clients, and SQLite, each
 * of whose transactions is made durable. The same guest unprotected and protected, in turn, on the same hosts.
 *
 *   ./dev/bench protect-applications --runs 2 --seconds 8
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { Agent, get } from 'node:http'
import { BenchLab } from './support/bench-lab.ts'
import { largeCpuShare } from './support/cpu-share.ts'
import { median, numberOptions, Report } from './support/report.ts'
import { Cli } from '../test/support/cli.ts'
import { debianGuest, sshRun } from '../test/support/debian.ts'

const { runs, seconds, clients, memory, legacy } = numberOptions({
  ...{ runs: 2, seconds: 8, clients: 64, memory: 512, legacy: 0 },
})
/** Half a minute where nothing else is going on. */
const bootMs = 300_000
const guest = await debianGuest()
await using _share = await largeCpuShare('protect-applications')
await using bench = await BenchLab.open('apps', 3)
const { lab } = bench
const virtio = legacy === 0 ? 'transitional' : 'legacy'
const report = new Report('protect-applications', { runs, seconds, memoryMiB: memory, accelerator: 'tcg', virtio })

const folder = mkdtempSync('/var/tmp/hfb')
await new Cli(lab, folder).json('image', 'import', 'debian', '--file', guest.disk, '--datastore', 'shared')
rmSync(folder, { recursive: true })
const disks = [{ image: 'debian', datastore: 'shared' }]
const body = { name: 'debian', memoryMiB: memory, video: 'none' as const, virtio, disks, start: true } as const
await lab.finish(await lab.client.call('createVm', { body }), bootMs)
const { id, addresses } = await lab.vm('debian')
const address = addresses[0] ?? ''
const page = '/var/www/html/page'
const database = '/root/bench.db'
await lab.eventually('ssh', () => sshRun(guest, address, 'true'), bootMs)
await sshRun(
  guest,
  address,
  `systemctl start nginx; dd if=/dev/urandom of=${page} bs=8k count=1 status=none; sqlite3 ${database} 'create table t(n)'`,
)

const works = {
  [`pages of 8 KiB from nginx, ${clients} clients that stay connected`]: () => requests(true),
  [`pages of 8 KiB from nginx, ${clients} clients, a connection for each`]: () => requests(false),
  'transactions of SQLite, each made durable': transactions,
}
const lanes = { unprotected: undefined, protected: 'latency', 'protected, for throughput': 'throughput' } as const
const rates = new Map<string, Map<string, number[]>>()
// What runs for the first time is translated first: that is nobody's measure.
for (const work of Object.values(works)) await work()
for (let round = 0; round < runs; round++) {
  for (const [lane, mode] of Object.entries(lanes)) {
    if (mode !== undefined) await protect(mode)
    for (const [title, work] of Object.entries(works)) note(title, lane, await work())
    if (mode !== undefined) await lab.finish(await lab.client.call('unprotectVm', { params: { vm: id }, body: {} }))
  }
}
for (const [title, byLane] of rates) {
  const rows = [...byLane].map(([name, values]) => ({ name, values }))
  report.add({ title, unit: 'a second', base: 'unprotected', rows })
}
await report.write()

function note(title: string, lane: string, rate: number): void {
  const byLane = rates.get(title) ?? new Map<string, number[]>()
  rates.set(title, byLane.set(lane, [...(byLane.get(lane) ?? []), rate]))
  process.stdout.write(`${title}, ${lane}: ${rate.toFixed(1)} a second\n`)
}

async function protect(mode: 'latency' | 'throughput'): Promise<void> {
  await lab.finish(await lab.client.call('protectVm', { params: { vm: id }, body: { mode } }))
  await lab.eventually('protected', async () => {
    const { protection, operation } = await lab.vm('debian')
    return protection.state === 'protected' && operation === null
  })
}

/** Answers a second, each client asking again as soon as it has its page. */
async function requests(keepAlive: boolean): Promise<number> {
  const agent = new Agent({ keepAlive, maxSockets: clients })
  const until = performance.now() + seconds * 1000
  const took: number[] = []
  const one = async (): Promise<void> => {
    while (performance.now() < until) {
      const began = performance.now()
      await new Promise<void>((answered, reject) => {
        get({ host: address, path: '/page', agent }, (response) => {
          response.resume().once('end', answered).once('error', reject)
        }).once('error', reject)
      })
      if (performance.now() < until) took.push(performance.now() - began)
    }
  }
  await Promise.all(Array.from({ length: clients }, one))
  agent.destroy()
  process.stdout.write(`  half of them within ${median(took).toFixed(0)} ms\n`)
  return took.length / seconds
}

/** Transactions a second, one after the other, by the guest's own work alone. */
async function transactions(): Promise<number> {
  const count = 200
  const insert = `for i in $(seq ${count}); do echo "insert into t values($i);"; done >/tmp/insert.sql`
  const began = performance.now()
  const timed = `${insert}; f=$(date +%s%N); sqlite3 ${database} </tmp/insert.sql; t=$(date +%s%N); echo $(((t-f)/1000))`
  const inGuest = Number(await sshRun(guest, address, timed)) / 1000
  // The guest's clock is given back what its epochs take, so its own time is true time.
  const outside = performance.now() - began
  if (!(inGuest > 0 && inGuest <= outside)) throw new Error(`the guest says ${inGuest} ms of ${outside}`)
  return (count * 1000) / inGuest
}
