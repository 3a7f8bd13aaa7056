import assert from 'node:assert/strict'
import { PassThrough, Readable } from 'node:stream'
import { test } from 'node:test'
import type { DatastoreId } from '../../base/ids.ts'
import { MemoryFiles } from '../../sim/memory-files.ts'
import { VirtualClock } from '../../sim/virtual-clock.ts'
import { Datastores } from './datastores.ts'
import { uploadKeptMs, Uploads } from './uploads.ts'

const day = 24 * 3_600_000
const datastore = 'ds-1' as DatastoreId

async function uploadsOn(files: MemoryFiles): Promise<Uploads> {
  const clock = new VirtualClock()
  const datastores = new Datastores({ files, clock, cluster: 'the-cluster', dataDirectory: '/data' })
  await datastores.configure([{ datastore, name: 'ds', path: '/ds', isShared: false }])
  return new Uploads(files, datastores)
}

test('who comes back to an upload need not wait for a connection that hangs, and loses nothing of it', async () => {
  const uploads = await uploadsOn(new MemoryFiles())
  const hanging = new PassThrough()
  const first = uploads.append('up-1', datastore, 0, hanging)
  first.catch(() => undefined)
  hanging.write('0123')
  await new Promise((done) => setImmediate(done))
  const refused = uploads.append('up-1', datastore, 0, Readable.from([Buffer.from('0123')]))
  await assert.rejects(first, { code: 'conflict' })
  await assert.rejects(refused, (thrown: { code: string; details: { offset: number } }) => {
    return thrown.code === 'conflict' && thrown.details.offset === 4
  })
  assert.equal((await uploads.append('up-1', datastore, 4, Readable.from([Buffer.from('45')]))).offset, 6)
})

test('an upload that nobody goes on with is removed after a week', async () => {
  const files = new MemoryFiles()
  const uploads = await uploadsOn(files)
  await uploads.append('up-1', datastore, 0, Readable.from([Buffer.from('0123')]))
  const began = (await files.stat('/ds/uploads/up-1'))?.mtimeMs ?? 0
  await uploads.sweep(began + uploadKeptMs - day)
  assert.equal((await uploads.status('up-1', datastore)).offset, 4)
  await uploads.sweep(began + uploadKeptMs + day)
  assert.equal(await files.stat('/ds/uploads/up-1'), undefined)
})
