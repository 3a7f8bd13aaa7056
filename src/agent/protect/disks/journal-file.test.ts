import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { MemoryFiles } from '../../../sim/memory-files.ts'
import { SeededRandom } from '../../../sim/seeded-random.ts'
import { JournalFile } from './journal-file.ts'
import { encodeJournal, type EpochJournal } from './journal-format.ts'

const path = '/copy/journal'
const turnBytes = 700
const blocks = 12

/** Epoch numbers have gaps: an epoch without writes has no journal. */
function epochs(random: SeededRandom, count: number, after = 0): EpochJournal[] {
  let epoch = after
  return Array.from({ length: count }, () => {
    epoch += 1 + random.int(3)
    const pieces = Array.from({ length: 1 + random.int(4) }, () => {
      const data = [Buffer.from(random.bytes(1 + random.int(150)))]
      return { disk: 1, kind: 'write', offset: random.int(blocks), length: data[0]?.length ?? 0, data } as const
    })
    return { epoch, n: 1, pieces }
  })
}

/** An image of whole blocks; the offset is the block's number. */
type Image = string[]

function apply(image: Image, { pieces }: EpochJournal, count = pieces.length): void {
  for (const { offset, data } of pieces.slice(0, count)) image[offset] = Buffer.concat(data).toString('base64')
}

function imageAfter(all: readonly EpochJournal[]): Image {
  const image: Image = new Array<string>(blocks).fill('')
  for (const one of all) apply(image, one)
  return image
}

async function contents(journal: JournalFile): Promise<EpochJournal[]> {
  const found: EpochJournal[] = []
  for await (const one of journal.read()) found.push(one)
  return found
}

interface Life {
  readonly begun: EpochJournal[]
  acked: number
  /** Up to here `done` was called: the image has it. */
  done: number
  readonly image: Image
}

/** What a second does, until the power goes. */
async function live(files: MemoryFiles, all: readonly EpochJournal[], random: SeededRandom, life: Life): Promise<void> {
  await files.makeDirectory('/copy')
  await using journal = await JournalFile.open(files, path, { turnBytes })
  const letGo: Promise<void>[] = []
  let applied = 0
  for (const one of all) {
    life.begun.push(one)
    await journal.append(encodeJournal(one))
    life.acked = one.epoch
    // The image lags by a few epochs, and has a part of the next one.
    while (applied < life.begun.length && random.chance(0.6)) {
      const next = life.begun[applied] as EpochJournal
      apply(life.image, next, random.int(next.pieces.length + 1))
      if (random.chance(0.3)) break
      apply(life.image, next)
      applied++
      life.done = next.epoch
      const released = journal.done(next.epoch)
      released.catch(() => undefined)
      if (random.chance(0.5)) await released
      else letGo.push(released)
    }
  }
  await Promise.all(letGo)
}

/** Opens again and again while the power goes in the midst of it. */
async function reopen(files: MemoryFiles, random: SeededRandom): Promise<JournalFile> {
  for (let tries = 0; tries < 3; tries++) {
    files.crashAfter(1 + random.int(3))
    const opened = await JournalFile.open(files, path, { turnBytes }).catch(() => undefined)
    files.boot()
    if (opened === undefined) continue
    await opened[Symbol.asyncDispose]()
    files.crash()
  }
  return await JournalFile.open(files, path, { turnBytes })
}

function check(found: readonly EpochJournal[], { begun, acked, done }: Life, seed: string): void {
  const numbers = found.map(({ epoch }) => epoch)
  const from = begun.findIndex(({ epoch }) => epoch === numbers[0])
  const expected = numbers.length === 0 ? [] : begun.slice(from, from + numbers.length)
  assert.deepEqual(found, expected, `${seed}: whole epochs without a gap`)
  const last = numbers.at(-1) ?? done
  assert.ok(last >= acked, `${seed}: epoch ${acked} was acknowledged and ${last} is the last`)
  const oldest = begun.find(({ epoch }) => epoch > done)?.epoch
  if (oldest !== undefined && oldest <= acked)
    assert.ok((numbers[0] ?? Infinity) <= oldest, `${seed}: a gap at the start`)
}

describe('the journal of the second copy', () => {
  for (const isTorn of [false, true]) {
    test(`keeps what was acknowledged wherever the power goes${isTorn ? ', and blocks tear' : ''}`, async () => {
      let crashes = 0
      for (let seed = 1; seed <= 12; seed++) {
        for (let crashAt = 1, isOver = false; !isOver; crashAt++) {
          const random = new SeededRandom(seed * 1000 + crashAt)
          const all = epochs(new SeededRandom(seed), 14)
          const files = new MemoryFiles(isTorn ? { tear: random.fork() } : {})
          await files.makeDirectory('/copy')
          const life: Life = { begun: [], acked: 0, done: 0, image: imageAfter([]) }
          files.crashAfter(crashAt)
          isOver = await live(files, all, new SeededRandom(seed), life).then(
            () => true,
            () => false,
          )
          files.boot()
          files.crash()
          crashes++
          const name = `seed ${seed}, crash ${crashAt}`
          const journal = await reopen(files, random)
          const found = await contents(journal)
          check(found, life, name)
          // Once, and again from the start after it broke off.
          const last = found.at(-1)?.epoch ?? life.done
          for (const one of found.slice(0, random.int(found.length + 1))) apply(life.image, one)
          for (const one of found) apply(life.image, one)
          assert.deepEqual(life.image, imageAfter(life.begun.filter(({ epoch }) => epoch <= last)), name)
          // And it goes on.
          const [more] = epochs(random, 1, last) as [EpochJournal]
          await journal.append(encodeJournal(more))
          files.crash()
          await using again = await JournalFile.open(files, path, { turnBytes })
          assert.deepEqual((await contents(again)).at(-1), more, name)
        }
      }
      assert.ok(crashes > 300, String(crashes))
    })
  }

  test('takes turns, so that its space is let go while it is used', async () => {
    const files = new MemoryFiles()
    await files.makeDirectory('/copy')
    await using journal = await JournalFile.open(files, path, { turnBytes })
    let most = 0
    for (const one of epochs(new SeededRandom(5), 200)) {
      await journal.append(encodeJournal(one))
      await journal.done(one.epoch)
      most = Math.max(most, journal.sizeBytes)
    }
    assert.ok(most < 4 * turnBytes, String(most))
    assert.deepEqual(journal.pending, [])
  })

  test('grows while the image lags, and is empty after `clear`', async () => {
    const files = new MemoryFiles()
    await files.makeDirectory('/copy')
    const journal = await JournalFile.open(files, path, { turnBytes })
    const all = epochs(new SeededRandom(6), 40)
    for (const one of all) await journal.append(encodeJournal(one))
    assert.deepEqual(
      journal.pending.map(({ epoch, n }) => [epoch, n]),
      all.map(({ epoch, n }) => [epoch, n]),
    )
    assert.deepEqual(await contents(journal), all)
    await journal.clear()
    files.crash()
    await using again = await JournalFile.open(files, path)
    assert.deepEqual([again.pending.length, again.sizeBytes], [0, 0])
  })

  test('takes nothing more after an append that failed, and refuses what is no newer epoch', async () => {
    const files = new MemoryFiles({ capacityBytes: 2000 })
    await files.makeDirectory('/copy')
    await using journal = await JournalFile.open(files, path)
    const one: EpochJournal = { epoch: 5, n: 1, pieces: [] }
    await journal.append(encodeJournal(one))
    await assert.rejects(journal.append(encodeJournal(one)), { code: 'wrong-state' })
    await assert.rejects(journal.append([Buffer.from('none')]), { code: 'invalid-request' })
    const data = [Buffer.alloc(3000)]
    const large: EpochJournal = { epoch: 6, n: 1, pieces: [{ disk: 1, kind: 'write', offset: 0, length: 3000, data }] }
    await assert.rejects(journal.append(encodeJournal(large)), { code: 'store-error' })
    await assert.rejects(journal.append(encodeJournal({ ...one, epoch: 7 })), { code: 'store-error' })
    assert.deepEqual(await contents(journal), [one])
  })

  test('an epoch that was spoiled after it was whole is told, not skipped', async () => {
    const all = epochs(new SeededRandom(7), 30)
    for (const name of ['.0', '.1']) {
      const files = new MemoryFiles()
      await files.makeDirectory('/copy')
      const journal = await JournalFile.open(files, path, { turnBytes })
      for (const one of all) await journal.append(encodeJournal(one))
      await using file = await files.open(path + name, 'read-write')
      await file.write(60, Buffer.from([255, 255, 255, 255]))
      await assert.rejects(JournalFile.open(files, path), { code: 'store-error' })
    }
  })
})
