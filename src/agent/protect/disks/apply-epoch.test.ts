import assert from 'node:assert/strict'
import { setImmediate } from 'node:timers'
import { describe, test } from 'node:test'
import { MemoryFiles } from '../../../sim/memory-files.ts'
import { SeededRandom } from '../../../sim/seeded-random.ts'
import { VirtualClock } from '../../../sim/virtual-clock.ts'
import { applyEpoch, replayJournal } from './apply-epoch.ts'
import { DiskFixture } from './disk-fixture.ts'
import { JournalFile } from './journal-file.ts'
import { encodeJournal, type EpochJournal, type JournalPiece } from './journal-format.ts'
import { NbdClient } from './nbd-client.ts'

const sizeBytes = 2048
const later = (work: () => void): void => void setImmediate(work)
const clock = new VirtualClock()

function fixtures(random: SeededRandom): DiskFixture[] {
  return ['0', '1', '2'].map((name) => new DiskFixture(name, sizeBytes, random.fork()))
}

function opener(disks: readonly DiskFixture[]): (disk: number) => Promise<NbdClient> {
  return async (disk) => {
    const there = disks[disk]
    assert.ok(there !== undefined)
    return await NbdClient.open(there.connect(later), there.name, { clock, timeoutMs: 1000 })
  }
}

function someEpochs(random: SeededRandom, count: number): EpochJournal[] {
  return Array.from({ length: count }, (_, epoch) => ({
    epoch,
    n: 1,
    pieces: Array.from({ length: random.int(6) }, (): JournalPiece => {
      const offset = random.int(sizeBytes)
      const length = 1 + random.int(sizeBytes - offset)
      const isWrite = random.chance(0.8)
      const data = isWrite ? [Buffer.from(random.bytes(length))] : []
      return { disk: random.int(3), kind: isWrite ? 'write' : 'zeroes', offset, length, data }
    }),
  }))
}

function expected(epochs: readonly EpochJournal[]): Buffer[] {
  const disks = [0, 1, 2].map(() => Buffer.alloc(sizeBytes))
  for (const { disk, kind, offset, length, data } of epochs.flatMap(({ pieces }) => pieces))
    if (kind === 'write') Buffer.concat(data).copy(disks[disk]!, offset)
    else disks[disk]?.fill(0, offset, offset + length)
  return disks
}

describe('bringing epochs into the images', () => {
  test('each disk gets its own changes, and is flushed', async () => {
    const random = new SeededRandom(1)
    const disks = fixtures(random)
    const epochs = someEpochs(random, 20)
    await using clients = new AsyncDisposableStack()
    const open = new Map<number, NbdClient>()
    for (const disk of disks.keys()) open.set(disk, clients.use(await opener(disks)(disk)))
    for (const { pieces } of epochs) await applyEpoch(pieces, open)
    assert.deepEqual(
      disks.map(({ flushed }) => flushed),
      expected(epochs),
    )
    const elsewhere = { disk: 7, kind: 'trim', offset: 0, length: 1, data: [] } as const
    await assert.rejects(applyEpoch([elsewhere], open), { code: 'wrong-state' })
  })

  test('a replay that breaks off anywhere is begun anew, and ends with the same images', async () => {
    for (let seed = 1; seed <= 25; seed++) {
      const random = new SeededRandom(seed)
      const files = new MemoryFiles({ tear: random.fork() })
      await files.makeDirectory('/copy')
      const epochs = someEpochs(random, 15)
      const disks = fixtures(random)
      const writing = await JournalFile.open(files, '/copy/journal', { turnBytes: 4000 })
      for (const one of epochs) await writing.append(encodeJournal(one))
      files.crash()
      for (let breaks = 0; breaks < 3; breaks++) {
        await using journal = await JournalFile.open(files, '/copy/journal', { turnBytes: 4000 })
        files.crashAfter(1 + random.int(4))
        let requests = random.int(60)
        const failing = (work: () => void): void => {
          for (const disk of disks) if (requests-- < 0) disk.error = 5
          later(work)
        }
        const broken = async (disk: number): Promise<NbdClient> =>
          await NbdClient.open(disks[disk]!.connect(failing), String(disk), { clock, timeoutMs: 1000 })
        await replayJournal(journal, broken).catch(() => undefined)
        files.boot()
        files.crash()
        for (const disk of disks) {
          // The images' power is gone too: what was not flushed may be lost.
          if (random.chance(0.5)) disk.flushed.copy(disk.content)
          disk.error = 0
        }
      }
      await using journal = await JournalFile.open(files, '/copy/journal')
      const left = journal.pending.at(-1)?.epoch
      assert.equal(await replayJournal(journal, opener(disks)), left)
      assert.deepEqual(journal.pending, [])
      assert.deepEqual(
        disks.map(({ content }) => content),
        expected(epochs),
        `seed ${seed}`,
      )
    }
  })
})
