import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import * as fs from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { fileErrorCode, type FileHandle, type FileMode, type Files, type FileStat } from '../files.ts'

/** The real files of this machine. */
export function nodeFiles(): Files {
  return {
    read: (path) => fs.readFile(path),
    readText: (path) => fs.readFile(path, 'utf8'),
    replace,
    write: (path, data, options) => fs.writeFile(path, data, { mode: options?.mode ?? 0o644 }),
    open: openFile,
    stat,
    list: (path) => fs.readdir(path),
    makeDirectory,
    async rename(from, to) {
      await fs.rename(from, to)
      await syncFolder(dirname(to))
      if (dirname(from) !== dirname(to)) await syncFolder(dirname(from))
    },
    async remove(path) {
      await fs.rm(path, { recursive: true, force: true })
      await syncFolder(dirname(path)).catch(ignoreMissing)
    },
    changeOwner: (path, uid, gid) => fs.chown(path, uid, gid),
    changeMode: (path, mode) => fs.chmod(path, mode),
    realPath: (path) => fs.realpath(path),
    async space(path) {
      const { blocks, bavail, bsize } = await fs.statfs(path)
      return { totalBytes: blocks * bsize, freeBytes: bavail * bsize }
    },
  }
}

async function replace(path: string, data: string | Uint8Array, options?: { mode?: number }): Promise<void> {
  const beside = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}.tmp`)
  const file = await fs.open(beside, 'wx', options?.mode ?? 0o644)
  try {
    try {
      await file.writeFile(data)
      await file.datasync()
    } finally {
      await file.close()
    }
    await fs.rename(beside, path)
  } catch (thrown) {
    await fs.rm(beside, { force: true })
    throw thrown
  }
  await syncFolder(dirname(path))
}

async function makeDirectory(path: string, options?: { mode?: number }): Promise<void> {
  const first = await fs.mkdir(path, { recursive: true, mode: options?.mode ?? 0o755 })
  if (first === undefined) return
  // Every folder that was made is an entry in the one above it.
  for (let at = path; at.length >= first.length; at = dirname(at)) await syncFolder(dirname(at))
}

async function syncFolder(path: string): Promise<void> {
  const folder = await fs.open(path, 'r')
  try {
    await folder.sync()
  } catch (thrown) {
    // Some file systems (9p, FUSE) cannot sync a folder and say so; they order renames themselves.
    if (fileErrorCode(thrown) !== 'EINVAL') throw thrown
  } finally {
    await folder.close()
  }
}

function ignoreMissing(thrown: unknown): void {
  if (fileErrorCode(thrown) !== 'ENOENT') throw thrown
}

async function stat(path: string): Promise<FileStat | undefined> {
  try {
    const found = await fs.stat(path)
    const kind = found.isFile() ? 'file' : found.isDirectory() ? 'directory' : found.isSocket() ? 'socket' : 'other'
    return { kind, sizeBytes: found.size, mtimeMs: found.mtimeMs, allocatedBytes: found.blocks * 512 }
  } catch (thrown) {
    const code = fileErrorCode(thrown)
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    throw thrown
  }
}

const openFlags = {
  read: constants.O_RDONLY,
  'read-untrusted': constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
  'read-write': constants.O_RDWR,
  'create-new': constants.O_RDWR | constants.O_CREAT | constants.O_EXCL,
} satisfies Record<FileMode, number>

async function openFile(path: string, mode: FileMode): Promise<FileHandle> {
  const file = await fs.open(path, openFlags[mode], 0o644)
  if (mode === 'read-untrusted' && !(await file.stat()).isFile()) {
    await file.close()
    throw Object.assign(new Error(`EINVAL: ${path} is no regular file`), { code: 'EINVAL' })
  }
  let isEntryDurable = mode !== 'create-new'
  let isClosed = false
  return {
    async read(offset, length) {
      const { size } = await file.stat()
      // What is asked for may be far more than there is. Files in /proc have no size.
      length = size === 0 ? length : Math.min(length, Math.max(0, size - offset))
      const buffer = Buffer.alloc(length)
      let done = 0
      while (done < length) {
        const { bytesRead } = await file.read(buffer, done, length - done, offset + done)
        if (bytesRead === 0) break
        done += bytesRead
      }
      return buffer.subarray(0, done)
    },
    async write(offset, data) {
      for (let done = 0; done < data.length;) {
        const { bytesWritten } = await file.write(data, done, data.length - done, offset + done)
        done += bytesWritten
      }
    },
    writeParts: (offset, parts) => writeParts(file, offset, parts),
    truncate: (sizeBytes) => file.truncate(sizeBytes),
    async sync() {
      await file.datasync()
      if (!isEntryDurable) await syncFolder(dirname(path))
      isEntryDurable = true
    },
    async [Symbol.asyncDispose]() {
      if (isClosed) return
      isClosed = true
      await file.close()
    },
  }
}

/** A device may take less than it was given, in the middle of a part too. */
async function writeParts(file: fs.FileHandle, offset: number, parts: readonly Uint8Array[]): Promise<void> {
  let left = parts.filter((part) => part.length > 0)
  for (let at = offset; left.length > 0;) {
    let { bytesWritten } = await file.writev(left, at)
    at += bytesWritten
    let whole = 0
    for (const part of left) {
      if (part.length > bytesWritten) break
      bytesWritten -= part.length
      whole++
    }
    left = left.slice(whole)
    if (bytesWritten > 0 && left[0] !== undefined) left[0] = left[0].subarray(bytesWritten)
  }
}
