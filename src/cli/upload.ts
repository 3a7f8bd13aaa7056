/**
 * Uploading a file in pieces. The manager knows how much it has, so nothing is sent twice and nothing is missed: after a
 * broken connection we ask, and go on from there. The upload's id is kept in the cache folder under a name made from the
 * file, its size and time, and the manager, so that the same command given again goes on too.
 */
import { createHash } from 'node:crypto'
import { HoldfastError } from '../base/errors.ts'
import type { Files } from '../base/files.ts'
import { MiB } from '../base/units.ts'
import { canonicalJson } from '../contracts/digest.ts'
import { personalFolder, type Cli, type Ports } from './cli.ts'
import type { Session } from './connection/session.ts'
import { Exit, exitCodes } from './exit-codes.ts'
import { UploadView } from './output/upload-view.ts'
import { given } from './options.ts'

export interface UploadWishes {
  /** Absolute. */
  readonly path: string
  readonly datastore: string | undefined
  /** What the file's digest must be; refused before anything is sent. */
  readonly sha256: string | undefined
}

export interface DoneUpload {
  readonly id: string
  readonly sha256: string
  /** Forgets the upload: to be called when the manager has taken it over. */
  forget(): Promise<void>
}

interface Kept {
  readonly upload: string
  readonly sha256: string
}

const pieceBytes = 8 * MiB
const patienceMs = 5 * 60_000

/** Uploads the file. Throws `checksum-mismatch`, what the manager refuses, and `unreachable` after five minutes without it. */
export async function uploadFile(cli: Cli, session: Session, wishes: UploadWishes): Promise<DoneUpload> {
  const ports = await cli.ports()
  const { files } = ports
  const stat = await files.stat(wishes.path)
  if (stat?.kind !== 'file') throw new HoldfastError('not-found', `there is no file ${wishes.path}`)
  const keptPath = keptFile(cli, [session.settings.url, wishes.path, wishes.datastore, stat.sizeBytes, stat.mtimeMs])
  const view = new UploadView(cli.terminal, wishes.path, stat.sizeBytes, ports.clock)
  const stop = new AbortController()
  using _interrupt = cli.terminal.onInterrupt(() => {
    view.note('Interrupted. The same command, given again, goes on from here.')
    stop.abort(new Exit(exitCodes.interrupted))
  })
  try {
    const begun = await beginOrResume(session, ports, wishes, { keptPath, sizeBytes: stat.sizeBytes, view, stop })
    await sendAll(session, ports, { ...begun, path: wishes.path, sizeBytes: stat.sizeBytes, view, signal: stop.signal })
    return { id: begun.id, sha256: begun.sha256, forget: () => files.remove(keptPath) }
  } catch (thrown) {
    if (stop.signal.aborted) throw stop.signal.reason
    throw thrown
  } finally {
    view.clear()
  }
}

/** Where the upload of exactly this file to exactly there is remembered. */
function keptFile(cli: Cli, of: readonly unknown[]): string {
  const name = createHash('sha256').update(canonicalJson(of)).digest('hex').slice(0, 32)
  return `${personalFolder(cli.env, 'cache')}/uploads/${name}.json`
}

interface Beginning {
  readonly keptPath: string
  readonly sizeBytes: number
  readonly view: UploadView
  readonly stop: AbortController
}

async function beginOrResume(
  session: Session,
  ports: Ports,
  wishes: UploadWishes,
  { keptPath, sizeBytes, view, stop }: Beginning,
): Promise<{ id: string; sha256: string; offset: number }> {
  const kept = await readKept(ports.files, keptPath)
  if (kept !== undefined && (wishes.sha256 === undefined || wishes.sha256 === kept.sha256)) {
    const offset = await offsetOf(session, kept.upload)
    if (offset !== undefined) {
      view.note(`Going on with the upload that was begun, at ${Math.floor((offset / Math.max(1, sizeBytes)) * 100)} %.`)
      return { id: kept.upload, sha256: kept.sha256, offset }
    }
  }
  const sha256 = await digestFile(ports.files, wishes.path, sizeBytes, view, stop.signal)
  if (wishes.sha256 !== undefined && wishes.sha256 !== sha256) {
    throw new HoldfastError('checksum-mismatch', `${wishes.path} has the SHA-256 ${sha256}, not the one that was given`)
  }
  const upload = await session.change('createUpload', { body: given({ sizeBytes, datastore: wishes.datastore }) })
  await ports.files.makeDirectory(keptPath.slice(0, keptPath.lastIndexOf('/')), { mode: 0o700 })
  await ports.files.replace(keptPath, JSON.stringify({ upload: upload.id, sha256 } satisfies Kept), { mode: 0o600 })
  return { id: upload.id, sha256, offset: upload.offset }
}

async function readKept(files: Files, path: string): Promise<Kept | undefined> {
  try {
    const value = JSON.parse(await files.readText(path)) as Partial<Kept>
    if (typeof value.upload === 'string' && typeof value.sha256 === 'string') {
      return { upload: value.upload, sha256: value.sha256 }
    }
  } catch {
    // Not there, or damaged: then the upload begins anew.
  }
  return undefined
}

/** How much the manager has; undefined when it does not know the upload (any more). */
async function offsetOf(session: Session, upload: string): Promise<number | undefined> {
  try {
    return (await session.client.call('getUpload', { params: { upload } })).offset
  } catch (thrown) {
    if (thrown instanceof HoldfastError && thrown.code === 'not-found') return undefined
    throw thrown
  }
}

async function digestFile(
  files: Files,
  path: string,
  sizeBytes: number,
  view: UploadView,
  signal: AbortSignal,
): Promise<string> {
  const hash = createHash('sha256')
  await using file = await files.open(path, 'read')
  for (let offset = 0; offset < sizeBytes;) {
    signal.throwIfAborted()
    const piece = await file.read(offset, Math.min(pieceBytes, sizeBytes - offset))
    if (piece.length === 0) throw shrunk(path)
    hash.update(piece)
    offset += piece.length
    view.update('checksum', offset)
  }
  return hash.digest('hex')
}

function shrunk(path: string): HoldfastError {
  return new HoldfastError('conflict', `${path} became shorter while it was read`, {
    mend: 'Give the command again when nothing writes to the file.',
  })
}

interface Sending {
  readonly id: string
  readonly offset: number
  readonly path: string
  readonly sizeBytes: number
  readonly view: UploadView
  readonly signal: AbortSignal
}

async function sendAll(session: Session, { files, clock }: Ports, sending: Sending): Promise<void> {
  const { id, path, sizeBytes, view, signal } = sending
  await using file = await files.open(path, 'read')
  let offset = sending.offset
  let failures = 0
  let brokeAtMs: number | undefined
  while (offset < sizeBytes) {
    signal.throwIfAborted()
    const piece = await file.read(offset, Math.min(pieceBytes, sizeBytes - offset))
    if (piece.length === 0) throw shrunk(path)
    try {
      offset = (await session.client.upload(id, offset, piece, { signal })).offset
      view.update('upload', offset)
      failures = 0
      brokeAtMs = undefined
    } catch (thrown) {
      if (signal.aborted || !(thrown instanceof HoldfastError)) throw thrown
      const known = thrown.code === 'conflict' ? thrown.details['offset'] : undefined
      if (typeof known !== 'number' && !thrown.isUnknown) throw thrown
      brokeAtMs ??= clock.monotonic()
      if (clock.monotonic() - brokeAtMs > patienceMs) throw thrown
      if (failures === 0 && thrown.isUnknown) view.note('The connection broke; going on when it is back.')
      failures += 1
      await clock.sleep(Math.min(250 * 2 ** failures, 5000), signal)
      offset = typeof known === 'number' ? known : await offsetAfterBreak(session, id, offset)
    }
  }
}

/** Part of the piece may have arrived. While the manager is away, the old place stands and the next try finds out. */
async function offsetAfterBreak(session: Session, id: string, offset: number): Promise<number> {
  try {
    return (await offsetOf(session, id)) ?? gone(id)
  } catch (thrown) {
    if (thrown instanceof HoldfastError && thrown.isUnknown) return offset
    throw thrown
  }
}

function gone(id: string): never {
  throw new HoldfastError('not-found', `the manager no longer has the upload ${id}`, {
    mend: 'Give the same command again to begin anew.',
  })
}
