/**
 * Uploads: pieces of a file, appended at a known end, kept by the agent of a host that holds the datastore. How much is
 * there is what that agent has durably; nothing of it is buffered here.
 */
import { Transform, type Readable } from 'node:stream'
import { isoTime } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { Upload } from '../../contracts/inventory.ts'
import type { CallOf } from '../../contracts/routes.ts'
import { hostsReaching, storageOf, type ClusterView } from '../domain/cluster-view.ts'
import type { UploadRecord } from '../store/records.ts'
import type { Stored } from '../store/store.ts'
import type { AppContext, Caller } from './context.ts'
import { resolve } from './references.ts'
import { pledged, write } from './write.ts'

export class Uploads {
  readonly #context: AppContext

  constructor(context: AppContext) {
    this.#context = context
  }

  /** Throws `no-space` when no datastore has room, `unreachable` when no host that has it is connected. */
  async create(body: CallOf<'createUpload'>['body'], caller: Caller): Promise<Upload> {
    const { store, clock, random } = this.#context
    const cluster = await this.#context.cluster()
    const place = placeFor(cluster, body)
    const id = `up-${Buffer.from(random.bytes(12)).toString('hex')}`
    const record: UploadRecord = { id, v: 1, ...place, sizeBytes: body.sizeBytes, created: isoTime(clock.now()) }
    await write(store, async () => ({
      changes: [{ do: 'create', kind: 'upload', value: record }, ...pledged(caller, { kind: 'upload', id })],
      value: undefined,
    }))
    return uploadView(record, 0)
  }

  async get(id: string): Promise<Upload> {
    const { value } = await this.need(id)
    const { offset } = await this.#context.agent(value.host).uploadStatus(id, value.datastore)
    return uploadView(value, offset)
  }

  /** Appends a piece. Throws `conflict` when `offset` is not the end, `too-large` beyond the size that was named. */
  async append(id: string, offset: number, body: Readable): Promise<Upload> {
    const { value } = await this.need(id)
    if (offset > value.sizeBytes) throw tooLarge(value)
    const limited = body.pipe(limit(value.sizeBytes - offset, () => tooLarge(value)))
    body.once('error', (error) => limited.destroy(error))
    // A client that goes away in the middle ends its request without an end of the body.
    body.once('close', () => {
      if (!body.readableEnded) limited.destroy(new HoldfastError('unreachable', 'the upload broke off'))
    })
    try {
      const done = await this.#context.agent(value.host).upload(id, value.datastore, offset, limited)
      return uploadView(value, done.offset)
    } catch (thrown) {
      // What made us end the stream is the cause, not that the agent got no end of it.
      throw limited.errored instanceof HoldfastError ? limited.errored : thrown
    } finally {
      // The rest of a piece that was refused is dropped: the answer goes through the same connection.
      body.resume()
    }
  }

  async need(id: string): Promise<Stored<UploadRecord>> {
    const stored = await this.#context.store.get('upload', id)
    if (stored !== undefined) return stored
    throw new HoldfastError('not-found', `there is no upload ${id}`, { mend: 'Begin a new one with POST /v1/uploads.' })
  }
}

function placeFor(
  cluster: ClusterView,
  body: CallOf<'createUpload'>['body'],
): Pick<UploadRecord, 'datastore' | 'host'> {
  const candidates =
    body.datastore === undefined ? cluster.datastores : [resolve('datastore', cluster.datastores, body.datastore)]
  if (candidates.length === 0) {
    throw new HoldfastError('wrong-state', 'there is no datastore yet', {
      mend: 'Add one with `holdfast datastore create`.',
    })
  }
  let mostFree = 0
  // Shared datastores first: an image there serves every host.
  for (const datastore of [...candidates].sort((a, b) => Number(b.isShared) - Number(a.isShared))) {
    for (const host of hostsReaching(cluster, datastore.id)) {
      const free = storageOf(host, datastore.id)?.freeBytes ?? 0
      mostFree = Math.max(mostFree, free)
      if (free > body.sizeBytes) return { datastore: datastore.id, host: host.id }
    }
  }
  if (mostFree > 0) {
    throw new HoldfastError('no-space', `no datastore has room for ${body.sizeBytes} bytes`, { mostFree })
  }
  throw new HoldfastError('unreachable', 'no connected host has this datastore', {
    mend: 'See `holdfast datastore list` for what is wrong with it.',
  })
}

/** Passes at most `bytes` on and fails with the next. */
function limit(bytes: number, error: () => HoldfastError): Transform {
  let rest = bytes
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      rest -= chunk.length
      if (rest < 0) done(error())
      else done(null, chunk)
    },
  })
}

function tooLarge(record: UploadRecord): HoldfastError {
  return new HoldfastError('too-large', `the upload was announced with ${record.sizeBytes} bytes`, {
    mend: 'Begin a new upload with the right size.',
  })
}

function uploadView(record: UploadRecord, offset: number): Upload {
  return { id: record.id, datastore: record.datastore, sizeBytes: record.sizeBytes, offset, created: record.created }
}
