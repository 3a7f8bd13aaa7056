/** The disks of a protected VM, with a real QEMU: mirrored into a journal, made durable, and written to a second copy. */
import assert from 'node:assert/strict'
import { copyFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { applyEpoch, replayJournal } from '../../src/agent/protect/disks/apply-epoch.ts'
import { JournalFile } from '../../src/agent/protect/disks/journal-file.ts'
import { decodeJournal, encodeJournal, type JournalPiece } from '../../src/agent/protect/disks/journal-format.ts'
import type { NbdClient } from '../../src/agent/protect/disks/nbd-client.ts'
import { nodeFiles } from '../../src/base/node/index.ts'
import type { Qmp } from '../../src/hypervisor/qmp.ts'
import { MemoryFiles } from '../../src/sim/memory-files.ts'
import { SeededRandom } from '../../src/sim/seeded-random.ts'
import { eventually, guest } from './hypervisor-guest.ts'
import { clock, MiB, ProtectedDisks, type Disk } from './protect-disks-world.ts'

const disks: readonly Disk[] = [
  { key: 1, format: 'qcow2', sizeBytes: 48 * MiB },
  { key: 2, format: 'raw', sizeBytes: 24 * MiB + 512 },
]

/** One change at any place, aligned or not. Others may be on their way at the same time, also over the same place. */
async function change(client: NbdClient, random: SeededRandom): Promise<void> {
  const unit = random.pick([1, 512, 4096])
  const units = Math.floor(client.sizeBytes / unit)
  // Half of it falls into a small region, so that it overlaps.
  const at = random.int(random.chance(0.5) ? Math.min(units - 1, Math.ceil(200_000 / unit)) : units - 1)
  const length = Math.min(units - at, 1 + random.int(Math.ceil((random.chance(0.1) ? 600_000 : 30_000) / unit))) * unit
  const kind = random.pick(['write', 'write', 'write', 'zeroes', 'trim'] as const)
  if (kind === 'zeroes') await client.zeroes(at * unit, length)
  else if (kind === 'trim') await client.trim(at * unit, length)
  else await client.write(at * unit, [Buffer.alloc(length, random.bytes(61))])
}

/** Writes to all disks for as long as it is wanted. */
async function churn(clients: Iterable<NbdClient>, seed: number, isOver: () => boolean): Promise<void> {
  const writers = [...clients].flatMap((client, disk) =>
    [1, 2, 3, 4].map(async (writer) => {
      const random = new SeededRandom(seed * 1000 + disk * 10 + writer)
      for (let count = 0; !isOver() && count < 100; count++) await change(client, random)
    }),
  )
  await Promise.all(writers)
}

/** As the pump does: nothing waits for the cut while QEMU stops. */
async function cut(world: ProtectedDisks, qmp: Qmp): Promise<JournalPiece[]> {
  world.server.admitAll()
  await qmp.execute('stop')
  const pieces = world.server.cut()
  await qmp.execute('cont')
  return pieces
}

test('what is written while epochs are cut is the same on both sides', async () => {
  await using world = await ProtectedDisks.open(disks)
  await using stack = new AsyncDisposableStack()
  stack.use(await world.startSecond())
  const qmp = await world.startPrimary()
  const writers = await world.clients('primary', stack)
  const images = await world.clients('second', stack)
  const journal = stack.use(await JournalFile.open(nodeFiles(), join(world.folder, 'journal'), { turnBytes: 4 * MiB }))
  const random = new SeededRandom(7)
  let epoch = 0
  const kinds = new Set<string>()
  const step = async (pieces: readonly JournalPiece[]): Promise<void> => {
    for (const { kind, disk } of pieces) kinds.add(`${kind} ${disk}`)
    const sent = Buffer.concat(encodeJournal({ epoch: ++epoch, n: 1, pieces }))
    const arrived = decodeJournal(sent)
    await journal.append([sent])
    await applyEpoch(arrived.pieces, images)
    await journal.done(epoch)
  }
  for (let round = 1; round <= 5; round++) {
    let isOver = false
    const writing = churn(writers.values(), round, () => isOver).finally(() => (isOver = true))
    // With the guest stopped, and also in the midst of everything.
    while (!isOver) {
      await clock.sleep(random.int(40))
      await step(random.chance(0.5) ? world.server.cut() : await cut(world, qmp))
    }
    await writing
    await step(await cut(world, qmp))
    await world.compare()
  }
  for (const kind of ['write 1', 'write 2', 'zeroes 1', 'zeroes 2']) assert.ok(kinds.has(kind), kind)
  assert.ok(epoch >= 10, String(epoch))
  assert.equal(world.server.broken, undefined)
  assert.ok(journal.sizeBytes < 32 * MiB, String(journal.sizeBytes))
})

test('qemu-io writes every way that it knows, and the target is never read', async () => {
  await using world = await ProtectedDisks.open(disks)
  await using stack = new AsyncDisposableStack()
  stack.use(await world.startSecond())
  await world.startPrimary()
  for (const { key } of disks) {
    await world.io(
      key,
      ...['write -P 1 0 8M', 'write -P 2 512 512', 'write -P 3 100 1', 'write -P 4 4000 5000', 'write -f -P 5 1M 4096'],
      ...['aio_write -P 6 2M 1M', 'aio_write -P 7 5M 1M', 'aio_flush', 'write -z 3000000 777', 'write -z -u 4M 1M'],
      ...['discard 6M 1M', 'discard 7000001 70000', 'write -P 8 65536 128k', 'flush', `write -P 9 23M 1M`],
    )
  }
  const images = await world.clients('second', stack)
  await applyEpoch(world.server.cut(), images)
  await world.compare()
  // A read would have been answered with an error, and the mirror would have failed.
  assert.equal(world.server.broken, undefined)
  assert.deepEqual(world.ends, [])
})

test('at every cut the second has exactly what a running guest has on its disk', async () => {
  const [disk] = disks as [Disk, Disk]
  await using world = await ProtectedDisks.open([disk])
  await using stack = new AsyncDisposableStack()
  stack.use(await world.startSecond())
  const images = await world.clients('second', stack)
  const folder = await guest()
  const serial = join(world.folder, 'serial')
  const qmp = await world.startPrimary([
    ...['-machine', 'q35,accel=tcg', '-m', '256', '-serial', `unix:${serial},server=on,wait=off`],
    ...['-kernel', join(folder, 'vmlinuz'), '-initrd', join(folder, 'initrd.gz')],
    ...['-append', 'console=ttyS0 quiet no_timer_check', '-device', 'virtio-blk-pci,drive=disk-1,share-rw=on'],
  ])
  const console = connect(serial)
  stack.defer(() => void console.destroy())
  let said = ''
  console.on('data', (text: Buffer) => (said += text.toString('latin1')))
  await eventually('the guest is ready', () => said.includes('holdfast-guest: ready') || undefined)
  // Small writes past the guest's cache, and large ones out of it.
  const direct =
    'dd if=/dev/urandom of=/dev/vda bs=4k count=50 seek=$((1000 + n * 37 % 9000)) oflag=direct conv=notrunc'
  console.write(`n=0; while ${direct} 2>/dev/null; do n=$((n+1)); done &\n`)
  console.write('disk churn /dev/vda 400\n')
  await eventually('the guest writes', () => said.includes('generation 1') || undefined)
  let changes = 0
  for (let epoch = 1; epoch <= 30; epoch++) {
    await clock.sleep(epoch * 5)
    world.server.admitAll()
    await qmp.execute('stop')
    const pieces = world.server.cut()
    changes += pieces.length
    await applyEpoch(pieces, images)
    await world.compare()
    assert.equal(world.server.bytes, 0)
    await qmp.execute('cont')
  }
  assert.ok(changes > 200, String(changes))
  assert.doesNotMatch(said, /BAD/)
})

test('a full journal holds the guest, and `admitAll` lets it be stopped', async () => {
  await using world = await ProtectedDisks.open(disks, MiB)
  const qmp = await world.startPrimary()
  await using stack = new AsyncDisposableStack()
  const writer = stack.use(await world.client('primary', 1))
  const isOpen = { writes: true, stop: true }
  const writes = Promise.all([0, 1, 2, 3, 4, 5].map((at) => writer.write(at * MiB, [Buffer.alloc(MiB, at)])))
  void writes.then(() => (isOpen.writes = false))
  await eventually('the journal is full', () => world.server.isFull || undefined)
  const stop = qmp.execute('stop')
  void stop.then(() => (isOpen.stop = false))
  await clock.sleep(500)
  // QEMU waits for its writes, and they wait for the cut.
  assert.deepEqual(isOpen, { writes: true, stop: true })
  world.server.admitAll()
  await stop
  const first = world.server.cut()
  await qmp.execute('cont')
  await eventually('the rest is written', () => {
    first.push(...world.server.cut())
    return !isOpen.writes || undefined
  })
  await writes
  const written = first.reduce((sum, { length }) => sum + length, 0)
  assert.equal(written, 6 * MiB)
})

test('a mirror that fails while QEMU stops is told before the answer to `stop`', async () => {
  await using world = await ProtectedDisks.open(disks, MiB)
  const qmp = await world.startPrimary()
  const heard: string[] = []
  using _ = qmp.onEvent(({ event }) => heard.push(event))
  await using writer = await world.client('primary', 1)
  const writes = Promise.all([0, 1, 2, 3].map((at) => writer.write(at * MiB, [Buffer.alloc(MiB, 1)])))
  await eventually('the journal is full', () => world.server.isFull || undefined)
  const stop = qmp.execute('stop').then(() => heard.push('stopped'))
  await eventually('QEMU stops', () => heard.includes('STOP') || undefined)
  world.server[Symbol.dispose]()
  await stop
  assert.ok(heard.indexOf('BLOCK_JOB_ERROR') < heard.indexOf('stopped') && heard.includes('BLOCK_JOB_ERROR'))
  await writes
})

for (const onTargetError of ['report', 'stop']) {
  test(`when the server dies the guest writes on, and no epoch is cut any more (${onTargetError})`, async () => {
    await using world = await ProtectedDisks.open(disks)
    const qmp = await world.startPrimary(undefined, onTargetError)
    const events: string[] = []
    using _ = qmp.onEvent(({ event, data }) => events.push(`${event} ${String(data['device'])}`))
    await using writer = await world.client('primary', 1)
    await writer.write(0, [Buffer.alloc(4096, 1)])
    world.server[Symbol.dispose]()
    await eventually('the streams have ended', () => world.ends.length === 2 || undefined)
    await writer.write(0, [Buffer.alloc(4096, 2)])
    await writer.flush()
    await eventually('QEMU tells', () => events.includes('BLOCK_JOB_ERROR mirror-1') || undefined)
    await qmp.execute('stop')
    assert.throws(() => world.server.cut(), { code: 'wrong-state' })
    await qmp.execute('cont')
    assert.match(await world.io(1, 'read -P 2 0 4096'), /^read 4096/)
  })
}

test('after a power loss the journal brings the image up to what was acknowledged', async () => {
  await using world = await ProtectedDisks.open(disks)
  const qmp = await world.startPrimary()
  const random = new SeededRandom(3)
  const files = new MemoryFiles({ tear: random })
  await files.makeDirectory('/copy')
  const journal = await JournalFile.open(files, '/copy/journal', { turnBytes: 2 * MiB })
  {
    await using stack = new AsyncDisposableStack()
    stack.use(await world.startSecond())
    const writers = await world.clients('primary', stack)
    const images = await world.clients('second', stack)
    for (let epoch = 1; epoch <= 12; epoch++) {
      let isOver = false
      const writing = churn(writers.values(), epoch, () => isOver)
      await clock.sleep(20 + random.int(60))
      isOver = true
      await writing
      const pieces = world.server.cut()
      await journal.append(encodeJournal({ epoch, n: 1, pieces }))
      // From the fifth on the image lags, and the last of them goes in only in part.
      if (epoch <= 8) await applyEpoch(pieces, images)
      if (epoch <= 5) await journal.done(epoch)
      if (epoch === 5) for (const disk of disks) await copyFile(world.image('second', disk), flushedOf(world, disk))
      if (epoch === 9) await applyEpoch(pieces.slice(0, pieces.length / 2), images)
    }
    // One more is on its way when the power goes, and is torn.
    files.crashAfter(1)
    const late = [{ disk: 1, kind: 'write', offset: 0, length: MiB, data: [Buffer.alloc(MiB, 9)] }] as const
    await assert.rejects(journal.append(encodeJournal({ epoch: 13, n: 1, pieces: late })), { code: 'store-error' })
    files.boot()
  }
  // So that the primary's images are whole in their files.
  await qmp.execute('stop')
  // Of one image only what was flushed is there, of the other everything.
  const [lost] = disks as [Disk, Disk]
  await copyFile(flushedOf(world, lost), world.image('second', lost))
  await assert.rejects(world.compare())
  for (let replays = 1; replays <= 2; replays++) {
    await using _second = await world.startSecond()
    await using found = await JournalFile.open(files, '/copy/journal')
    assert.equal(found.pending.at(-1)?.epoch, 12)
    assert.equal(await replayJournal(found, (key) => world.client('second', key)), 12)
    await world.compare()
  }
})

function flushedOf(world: ProtectedDisks, disk: Disk): string {
  return join(world.folder, `flushed-${disk.key}`)
}
