import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { HoldfastError } from '../base/errors.ts'
import type { Files } from '../base/files.ts'
import type { Client } from '../contracts/client.ts'
import { fakeManager, fakeTerminal, fakeWorld, type FakeManager } from './testing/fake-surroundings.ts'
import { memoryFiles } from './testing/memory-files.ts'
import { sampleTask } from './testing/samples.ts'

const content = Buffer.from(Array.from({ length: 20 * 2 ** 20 }, (_, at) => at % 251))
const sha256 = createHash('sha256').update(content).digest('hex')
const command = ['image', 'import', 'debian', '--file', 'disk.img', '--datastore', 'fast']

/** A manager that keeps what it is sent, and breaks the connection at the given pieces. */
function receiver(breakAt: number[] = [], onPiece: () => void = () => undefined) {
  let stored = Buffer.alloc(0)
  let pieces = 0
  const upload: Client['upload'] = async (_id, offset, body) => {
    pieces += 1
    onPiece()
    if (offset !== stored.length) throw new HoldfastError('conflict', 'not the end', { offset: stored.length })
    const bytes = body as Uint8Array
    const isBroken = breakAt.includes(pieces)
    stored = Buffer.concat([stored, isBroken ? bytes.subarray(0, 1000) : bytes])
    if (isBroken) throw new HoldfastError('unreachable', 'the connection broke')
    return { id: 'up-1', offset: stored.length } as never
  }
  const manager: FakeManager = fakeManager(
    {
      createUpload: () => ({ id: 'up-1', offset: 0 }),
      getUpload: () => ({ id: 'up-1', offset: stored.length }),
      importImage: () => sampleTask({ name: 'image.import' }),
    },
    { upload },
  )
  return { manager, stored: () => stored, pieces: () => pieces }
}

function diskFile(): Files {
  return memoryFiles({ '/home/ada/disk.img': content })
}

test('a file arrives whole, in pieces, with its checksum', async () => {
  const far = receiver()
  const world = fakeWorld(far.manager, { files: diskFile() })
  assert.equal(await world.run(...command), 0, world.terminal.written.err)
  assert.ok(far.stored().equals(content))
  assert.equal(far.pieces(), 3)
  const bodyOf = (route: string) => far.manager.calls.find((call) => call.route === route)?.input.body
  assert.deepEqual(bodyOf('createUpload'), { sizeBytes: content.length, datastore: 'fast' })
  const body = bodyOf('importImage')
  assert.deepEqual(body, { name: 'debian', upload: 'up-1', sha256 })
})

test('broken connections are made good: nothing is missing and nothing doubled', async () => {
  const far = receiver([1, 3, 4])
  const world = fakeWorld(far.manager, { files: diskFile() })
  assert.equal(await world.run(...command), 0, world.terminal.written.err)
  assert.ok(far.stored().equals(content))
  assert.match(world.terminal.written.err, /The connection broke; going on/)
})

test('the same command after an interruption goes on where it was', async () => {
  const files = diskFile()
  const terminal = fakeTerminal()
  const far = receiver([], () => {
    if (far.pieces() === 2) terminal.interrupt()
  })
  assert.equal(await fakeWorld(far.manager, { files, terminal }).run(...command), 130)
  assert.match(terminal.written.err, /given again, goes on from here/)
  const before = far.pieces()
  const again = fakeWorld(far.manager, { files })
  assert.equal(await again.run(...command), 0, again.terminal.written.err)
  assert.match(again.terminal.written.err, /Going on with the upload that was begun/)
  assert.ok(far.stored().equals(content))
  assert.ok(far.pieces() - before < 3)
  assert.equal(far.manager.calls.filter((call) => call.route === 'createUpload').length, 1)
})

test('a finished upload is forgotten: the same command begins a new one', async () => {
  const files = diskFile()
  const far = receiver()
  await fakeWorld(far.manager, { files }).run(...command)
  const second = receiver()
  await fakeWorld(second.manager, { files }).run(...command)
  assert.ok(second.manager.calls.some((call) => call.route === 'createUpload'))
})

test('a wrong checksum is found before anything is sent', async () => {
  const far = receiver()
  const world = fakeWorld(far.manager, { files: diskFile() })
  assert.equal(await world.run(...command, '--sha256', 'ab'.repeat(32)), 1)
  assert.match(world.terminal.written.err, /checksum-mismatch/)
  assert.equal(far.manager.calls.length, 0)
})

test('a refusal by the manager is not tried again', async () => {
  const far = receiver()
  const upload: Client['upload'] = async () => {
    throw new HoldfastError('no-space', 'fast is full')
  }
  const world = fakeWorld({ ...far.manager, client: { ...far.manager.client, upload } }, { files: diskFile() })
  assert.equal(await world.run(...command), 1)
  assert.match(world.terminal.written.err, /fast is full/)
})

test('an import needs exactly one source', async () => {
  const world = fakeWorld(receiver().manager)
  assert.equal(await world.run('image', 'import', 'x'), 2)
  assert.equal(await world.run('image', 'import', 'x', '--file', 'a', '--path', '/b'), 2)
})
