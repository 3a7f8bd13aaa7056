/**
 * What a slow disk under the second's journal costs: the same guest held in step over a file system as it is, and with 5 and 20
 * milliseconds added to each sync. Each epoch with writes waits for one.
 *
 *   ./dev/bench protect-sync --runs 3
 */
import { open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { guestAddress, Pair } from '../test/qemu/pump-pair.ts'
import { largeCpuShare } from './support/cpu-share.ts'
import { median, numberOptions, Report } from './support/report.ts'
import { p99, roundTrips } from './support/round-trips.ts'

const { runs } = numberOptions({ runs: 3 })
await using _share = await largeCpuShare('protect-sync')
const ownSyncMs = await syncOf(join(tmpdir(), 'holdfast-sync'))
const report = new Report('protect-sync', { runs, accelerator: 'tcg', ownSyncMs: ownSyncMs.toFixed(3) })
process.stdout.write(`a sync of this file system takes ${ownSyncMs.toFixed(3)} ms (median of 200)\n`)

const added = { 'as it is': 0, '5 ms added': 5, '20 ms added': 20 }
const writes =
  'i=0; while [ $i -lt 100 ]; do dd if=/dev/zero of=/dev/vda bs=4k count=1 seek=$i conv=notrunc,fsync 2>/dev/null; i=$((i+1)); done'
const took = new Map<string, number[]>()
const middle = new Map<string, number[]>()
const worst = new Map<string, number[]>()
const lags = new Map<string, number[]>()
for (let round = 0; round < runs; round++) for (const [name, ms] of Object.entries(added)) await measure(name, ms)

for (const [title, unit, values] of [
  ['100 writes of 4 KiB, each flushed', 's', took],
  ['request and answer meanwhile, median', 'ms', middle],
  ['request and answer meanwhile, 99th of 100', 'ms', worst],
  ['age of the newest safe state meanwhile', 'ms', lags],
] as const) {
  report.add({ title, unit, base: 'as it is', rows: [...values].map(([name, rows]) => ({ name, values: rows })) })
}
await report.write()

async function measure(name: string, ms: number): Promise<void> {
  process.env['HOLDFAST_TEST_SYNC_MS'] = String(ms)
  await using pair = await Pair.open({ disk: 'raw', more: { virtio: 'transitional' } })
  await pair.serial.command(writes)
  const note = (map: Map<string, number[]>, value: number): void =>
    void map.set(name, [...(map.get(name) ?? []), value])
  let isOver = false
  const trips = roundTrips(guestAddress, () => {
    note(lags, pair.pump.status.lagMs ?? Number.NaN)
    return isOver
  })
  const began = performance.now()
  await pair.serial.command(writes)
  note(took, (performance.now() - began) / 1000)
  isOver = true
  note(middle, median(await trips))
  note(worst, p99(await trips))
}

/** Of 200 appends of 4 KiB, each made durable: what one takes, milliseconds. */
async function syncOf(path: string): Promise<number> {
  const file = await open(path, 'w')
  const taken: number[] = []
  try {
    for (let at = 0; at < 200; at++) {
      await file.write(Buffer.alloc(4096, at), 0, 4096, at * 4096)
      const began = performance.now()
      await file.datasync()
      taken.push(performance.now() - began)
    }
  } finally {
    await file.close()
    await rm(path)
  }
  return median(taken)
}
