/**
 * Taking a disk image in. What comes from outside is copied first, byte for byte, through one open file; everything after
 * is done with our own copy, so nobody can swap it between the check and the use. An image that refers to any file but
 * itself is refused: it could name the host's own.
 */
import { createHash } from 'node:crypto'
import { dirname } from 'node:path'
import { HoldfastError } from '../../base/errors.ts'
import { fileErrorCode, type FileHandle, type Files } from '../../base/files.ts'
import type { ImageFacts, JobWork } from '../../contracts/agent-api.ts'
import type { DiskImages, ImageInfo } from '../../hypervisor/images.ts'
import { orNoSpace, type Datastores } from './datastores.ts'
import type { JobContext } from './jobs.ts'

type ImportWork = Extract<JobWork, { kind: 'import-image' }>

export interface ImportDeps {
  readonly files: Files
  readonly images: DiskImages
  readonly datastores: Datastores
  /** Folders that images may be read from by path; every link is resolved before the comparison. */
  readonly allowedFolders: readonly string[]
}

const chunkBytes = 1024 * 1024
const mostVirtualBytes = 64 * 2 ** 40
const imageMode = 0o644
const knownFormats = ['raw', 'qcow2', 'vmdk']

export async function importImage(deps: ImportDeps, work: ImportWork, context: JobContext): Promise<ImageFacts> {
  await deps.datastores.mustBeUsable(work.datastore)
  const known = await alreadyImported(deps, work)
  if (known !== undefined) {
    await removeUpload(deps, work)
    return known
  }
  const taken = `${deps.datastores.imageFactsPath(work.datastore, work.image)}.partial`
  const converted = `${taken}.qcow2`
  try {
    const sha256 = await orNoSpace('the image', () => take(deps, work, taken, context))
    if (work.sha256 !== null && work.sha256 !== sha256) {
      throw new HoldfastError('checksum-mismatch', `the image has SHA-256 ${sha256}, not ${work.sha256}`, {
        mend: 'Fetch the image again, or correct the checksum.',
      })
    }
    const format = await inspect(deps, work, taken)
    const whole = format === 'vmdk' ? converted : taken
    if (format === 'vmdk') await convert(deps, taken, converted, context)
    return await finish(deps, work, { whole, format: format === 'raw' ? 'raw' : 'qcow2', sha256 })
  } finally {
    await deps.files.remove(taken)
    await deps.files.remove(converted)
  }
}

/** The facts are durable before the image has its name, and both are there when an earlier run was through. */
async function alreadyImported(deps: ImportDeps, work: ImportWork): Promise<ImageFacts | undefined> {
  try {
    const text = await deps.files.readText(deps.datastores.imageFactsPath(work.datastore, work.image))
    const facts = JSON.parse(text) as ImageFacts
    const path = deps.datastores.imagePath(work.datastore, work.image, facts.format)
    return (await deps.files.stat(path)) === undefined ? undefined : facts
  } catch (thrown) {
    if (fileErrorCode(thrown) === 'ENOENT') return undefined
    throw thrown
  }
}

async function take(deps: ImportDeps, work: ImportWork, to: string, context: JobContext): Promise<string> {
  const from = await sourcePath(deps, work)
  await deps.files.remove(to)
  await using source = await openSource(deps, from)
  const sizeBytes = (await deps.files.stat(from))?.sizeBytes ?? 0
  await using target = await deps.files.open(to, 'create-new')
  return await copyHashed(source, target, sizeBytes, context)
}

async function sourcePath(deps: ImportDeps, work: ImportWork): Promise<string> {
  const { kind, path } = work.source
  if (kind === 'upload') return deps.datastores.uploadPath(work.datastore, path)
  const real = await deps.files.realPath(path).catch((cause: unknown) => {
    throw new HoldfastError('not-found', `there is no file ${path} on this host`, {}, { cause })
  })
  for (const folder of deps.allowedFolders) {
    const allowed = await deps.files.realPath(folder).catch(() => undefined)
    if (allowed !== undefined && real.startsWith(allowed === '/' ? '/' : `${allowed}/`)) return real
  }
  throw new HoldfastError('not-allowed', `images may not be read from ${dirname(path)} on this host`, {
    mend: 'Upload the image, or start the agent with --allow-import FOLDER.',
  })
}

async function openSource(deps: ImportDeps, path: string): Promise<FileHandle> {
  try {
    return await deps.files.open(path, 'read-untrusted')
  } catch (cause) {
    const isMissing = fileErrorCode(cause) === 'ENOENT'
    const what = isMissing ? `there is no file ${path}` : `${path} is not a regular file`
    throw new HoldfastError(isMissing ? 'not-found' : 'bad-image', what, {}, { cause })
  }
}

/** Blocks of zeros stay holes, so a sparse image stays sparse. */
async function copyHashed(
  source: FileHandle,
  target: FileHandle,
  sizeBytes: number,
  context: JobContext,
): Promise<string> {
  const hash = createHash('sha256')
  let offset = 0
  for (;;) {
    context.signal.throwIfAborted()
    const chunk = await source.read(offset, chunkBytes)
    if (chunk.length === 0) break
    hash.update(chunk)
    if (!isZero(chunk)) await target.write(offset, chunk)
    offset += chunk.length
    context.onBytes('reading', offset, Math.max(offset, sizeBytes))
  }
  await target.truncate(offset)
  await target.sync()
  return hash.digest('hex')
}

const zeros = Buffer.alloc(chunkBytes)

function isZero(chunk: Uint8Array): boolean {
  return zeros.compare(chunk, 0, chunk.length, 0, chunk.length) === 0
}

/** What the content is. Throws `bad-image` when it is not what it was said to be, or not whole in itself. */
async function inspect(deps: ImportDeps, work: ImportWork, path: string): Promise<string> {
  const size = (await deps.files.stat(path))?.sizeBytes ?? 0
  if (size === 0) throw new HoldfastError('bad-image', 'the image is empty')
  const info = await deps.images.info(path)
  const { expectFormat } = work
  if (!knownFormats.includes(info.format)) {
    throw new HoldfastError('bad-image', `images of format ${info.format} are not taken`, {
      mend: 'Convert it to qcow2 with qemu-img convert.',
    })
  }
  if (expectFormat !== null && expectFormat !== info.format) {
    throw new HoldfastError('bad-image', `the image was said to be ${expectFormat}, but its content is ${info.format}`)
  }
  if (expectFormat === null && info.format === 'raw') {
    throw new HoldfastError('bad-image', 'the content is of no known format', {
      mend: 'If it is a raw disk, say so with --format raw.',
    })
  }
  refuseReferences(info)
  if (info.format !== 'raw') await deps.images.check(path, info.format)
  return info.format
}

function refuseReferences(info: ImageInfo): void {
  const mend = 'Flatten the image with qemu-img convert and import the result.'
  if (info.backingFile !== null) {
    throw new HoldfastError('bad-image', `the image rests on another file, ${info.backingFile}`, { mend })
  }
  if (info.hasOutsideReference) throw new HoldfastError('bad-image', 'the image refers to another file', { mend })
  if (info.isEncrypted) throw new HoldfastError('bad-image', 'the image is encrypted')
  if (info.virtualBytes > mostVirtualBytes) {
    throw new HoldfastError('bad-image', `the image claims a size of ${info.virtualBytes} bytes`)
  }
}

async function convert(deps: ImportDeps, from: string, to: string, context: JobContext): Promise<void> {
  const { virtualBytes } = await deps.images.info(from, 'vmdk')
  const onFraction = (fraction: number): void => context.onBytes('converting', fraction * virtualBytes, virtualBytes)
  await deps.files.remove(to)
  await deps.images.convert({ path: from, format: 'vmdk' }, { path: to, format: 'qcow2' }, onFraction, context.signal)
}

async function finish(
  deps: ImportDeps,
  work: ImportWork,
  done: { whole: string; format: 'raw' | 'qcow2'; sha256: string },
): Promise<ImageFacts> {
  const { virtualBytes, fileBytes } = await deps.images.info(done.whole, done.format)
  const facts: ImageFacts = { format: done.format, virtualBytes, fileBytes, sha256: done.sha256 }
  await deps.files.changeMode(done.whole, imageMode)
  await deps.files.replace(deps.datastores.imageFactsPath(work.datastore, work.image), JSON.stringify(facts))
  await deps.files.rename(done.whole, deps.datastores.imagePath(work.datastore, work.image, done.format))
  await removeUpload(deps, work)
  return facts
}

/** What was uploaded is the image now. */
async function removeUpload(deps: ImportDeps, work: ImportWork): Promise<void> {
  if (work.source.kind !== 'upload') return
  await deps.files.remove(deps.datastores.uploadPath(work.datastore, work.source.path))
}

export async function removeImage(
  deps: Pick<ImportDeps, 'files' | 'datastores'>,
  image: ImportWork['image'],
  datastore: ImportWork['datastore'],
): Promise<void> {
  await deps.datastores.mustBeUsable(datastore)
  for (const format of ['qcow2', 'raw'] as const) {
    await deps.files.remove(deps.datastores.imagePath(datastore, image, format))
  }
  await deps.files.remove(deps.datastores.imageFactsPath(datastore, image))
}
