/**
 * A folder handed through to a mount, request by request. Every open of the mount is an open file description of its
 * own here, and record locks are taken on it (F_OFD_SETLK), so locks of several hosts on one file conflict exactly as
 * those of several processes do: QEMU's image locks rest on it. All is synchronous: one thread serves one mount.
 */
import * as fs from 'node:fs'
import { constants as os } from 'node:os'
import type { LockRange, StorageLibc } from './libc.ts'
import {
  attrReply,
  directIo,
  entryReply,
  folderReply,
  inHeaderBytes,
  maxTransferBytes,
  names,
  number64,
  opcode,
  openReply,
  outHeaderBytes,
  setattrBit,
  statfsReply,
  type FolderEntry,
} from './fuse-wire.ts'
import { Nodes } from './nodes.ts'

const { errno } = os
const { O_APPEND, O_CREAT, O_DIRECT, O_EXCL, O_TRUNC, O_RDWR } = fs.constants
/** The fixed part of a request begins after its header. */
const body = inHeaderBytes
const renameNoReplace = 1

/** A reply's body, or minus errno; undefined: the kernel wants none. */
export type Reply = Buffer | number | undefined

interface Handle {
  readonly fd: number
  readonly node: number
}

type Operation = (request: Buffer, node: number) => Reply

export class Passthrough {
  readonly #nodes: Nodes
  readonly #libc: StorageLibc
  readonly #files = new Map<number, Handle>()
  readonly #folders = new Map<number, FolderEntry[]>()
  #nextHandle = 1
  /** Room for a header and the largest read, so that a read is answered with one write and no copy. */
  readonly readBuffer = Buffer.alloc(outHeaderBytes + maxTransferBytes)

  constructor(root: string, libc: StorageLibc) {
    this.#nodes = new Nodes(root)
    this.#libc = libc
  }

  /** Carries out one request. A READ's answer is a part of `readBuffer` and is good until the next one. */
  handle(request: Buffer): Reply {
    const operation = this.#operations[request.readUInt32LE(4)]
    if (operation === undefined) return -errno.ENOSYS
    try {
      return operation(request, number64(request, 16))
    } catch (thrown) {
      const code = thrown instanceof Error && 'errno' in thrown ? thrown.errno : undefined
      return typeof code === 'number' ? code : -errno.EIO
    }
  }

  readonly #operations: Record<number, Operation | undefined> = {
    [opcode.lookup]: (request, node) => this.#entry(node, names(request, body)[0]),
    [opcode.forget]: (request, node) => {
      this.#nodes.forget(node, number64(request, body))
      return undefined
    },
    [opcode.batchForget]: (request) => {
      const count = request.readUInt32LE(body)
      for (let at = body + 8, i = 0; i < count; i++, at += 16) {
        this.#nodes.forget(number64(request, at), number64(request, at + 8))
      }
      return undefined
    },
    [opcode.getattr]: (_, node) => this.#attributes(node),
    [opcode.setattr]: (request, node) => this.#setAttributes(request, node),
    [opcode.readlink]: (_, node) => Buffer.from(fs.readlinkSync(this.#path(node))),
    [opcode.symlink]: (request, node) => {
      const [name, target] = names(request, body)
      return this.#make(request, node, name, (path) => fs.symlinkSync(target ?? '', path))
    },
    [opcode.mknod]: (request, node) => {
      const mode = request.readUInt32LE(body)
      if ((mode & fs.constants.S_IFMT) !== fs.constants.S_IFREG) return -errno.EPERM
      return this.#make(request, node, names(request, body + 16)[0], (path) =>
        fs.writeFileSync(path, '', { mode, flag: 'wx' }),
      )
    },
    [opcode.mkdir]: (request, node) => {
      const mode = request.readUInt32LE(body)
      return this.#make(request, node, names(request, body + 8)[0], (path) => fs.mkdirSync(path, { mode }))
    },
    [opcode.unlink]: (request, node) => this.#remove(request, node, fs.unlinkSync),
    [opcode.rmdir]: (request, node) => this.#remove(request, node, fs.rmdirSync),
    [opcode.rename]: (request, node) => this.#rename(request, node, 0, names(request, body + 8)),
    [opcode.rename2]: (request, node) =>
      this.#rename(request, node, request.readUInt32LE(body + 8), names(request, body + 16)),
    [opcode.link]: (request, node) => {
      const name = names(request, body + 8)[0] ?? ''
      fs.linkSync(this.#path(number64(request, body)), this.#childPath(node, name))
      return this.#entry(node, name)
    },
    [opcode.open]: (request, node) => {
      // O_DIRECT stays on the mount: the folder below has one page cache for all hosts, and our buffers are not aligned.
      const flags = request.readUInt32LE(body) & ~(O_CREAT | O_EXCL | O_APPEND | O_DIRECT)
      return openReply(this.#opened(fs.openSync(this.#path(node), flags), node), directIo)
    },
    [opcode.create]: (request, node) => this.#create(request, node),
    [opcode.read]: (request) => {
      const size = Math.min(request.readUInt32LE(body + 16), maxTransferBytes)
      const got = fs.readSync(this.#fd(request), this.readBuffer, outHeaderBytes, size, number64(request, body + 8))
      return this.readBuffer.subarray(outHeaderBytes, outHeaderBytes + got)
    },
    [opcode.write]: (request) => {
      const size = request.readUInt32LE(body + 16)
      const reply = Buffer.alloc(8)
      reply.writeUInt32LE(fs.writeSync(this.#fd(request), request, body + 40, size, number64(request, body + 8)), 0)
      return reply
    },
    [opcode.fsync]: (request) => {
      const isDataOnly = (request.readUInt32LE(body + 8) & 1) !== 0
      if (isDataOnly) fs.fdatasyncSync(this.#fd(request))
      else fs.fsyncSync(this.#fd(request))
      return 0
    },
    [opcode.flush]: () => 0,
    [opcode.release]: (request) => {
      const handle = number64(request, body)
      const file = this.#files.get(handle)
      this.#files.delete(handle)
      if (file !== undefined) fs.closeSync(file.fd)
      return 0
    },
    [opcode.opendir]: (_, node) => {
      const entries = fs.readdirSync(this.#path(node), { withFileTypes: true })
      const handle = this.#nextHandle++
      this.#folders.set(
        handle,
        entries.map((entry) => ({ name: entry.name, type: entryType(entry) })),
      )
      return openReply(handle, 0)
    },
    [opcode.readdir]: (request) => {
      const entries = this.#folders.get(number64(request, body)) ?? []
      return folderReply(entries, number64(request, body + 8), request.readUInt32LE(body + 16))
    },
    [opcode.releasedir]: (request) => {
      this.#folders.delete(number64(request, body))
      return 0
    },
    [opcode.fsyncdir]: (_, node) => {
      const fd = fs.openSync(this.#path(node), 'r')
      try {
        fs.fsyncSync(fd)
      } finally {
        fs.closeSync(fd)
      }
      return 0
    },
    [opcode.statfs]: (_, node) => statfsReply(fs.statfsSync(this.#path(node))),
    [opcode.fallocate]: (request) =>
      this.#libc.fallocate(
        this.#fd(request),
        request.readUInt32LE(body + 24),
        number64(request, body + 8),
        number64(request, body + 16),
      ),
    [opcode.lseek]: (request) => {
      const at = this.#libc.lseek(this.#fd(request), number64(request, body + 8), request.readUInt32LE(body + 16))
      if (at < 0) return at
      const reply = Buffer.alloc(8)
      reply.writeBigUInt64LE(BigInt(at), 0)
      return reply
    },
    [opcode.getlk]: (request) => {
      const found = this.#libc.getLock(this.#fd(request), lockRange(request))
      const reply = Buffer.alloc(24)
      reply.writeBigUInt64LE(BigInt(found.start), 0)
      reply.writeBigUInt64LE(found.length === 0 ? lastOffset : BigInt(found.start + found.length - 1), 8)
      reply.writeUInt32LE(found.type, 16)
      return reply
    },
    [opcode.setlk]: (request) => this.#libc.setLock(this.#fd(request), lockRange(request)),
    // Waiting would stop every other request of this host; QEMU and qemu-img never wait for a lock.
    [opcode.setlkw]: (request) => this.#libc.setLock(this.#fd(request), lockRange(request)),
  }

  #path(node: number): string {
    const path = this.#nodes.path(node)
    if (path === undefined) throw Object.assign(new Error('unlinked'), { errno: -errno.ENOENT })
    return path
  }

  #childPath(node: number, name: string): string {
    return `${this.#path(node)}/${name}`
  }

  #fd(request: Buffer): number {
    const file = this.#files.get(number64(request, body))
    if (file === undefined) throw Object.assign(new Error('no such handle'), { errno: -errno.EBADF })
    return file.fd
  }

  #opened(fd: number, node: number): number {
    const handle = this.#nextHandle++
    this.#files.set(handle, { fd, node })
    return handle
  }

  /** An open descriptor of a node, if there is one: all that is left of a file that was unlinked. */
  #anyFd(node: number): number | undefined {
    for (const file of this.#files.values()) if (file.node === node) return file.fd
    return undefined
  }

  #entry(parent: number, name = ''): Reply {
    const stat = fs.lstatSync(this.#childPath(parent, name), { bigint: true, throwIfNoEntry: false })
    return stat === undefined ? -errno.ENOENT : entryReply(this.#nodes.remember(parent, name), stat)
  }

  #attributes(node: number): Reply {
    const path = this.#nodes.path(node)
    if (path !== undefined) return attrReply(node, fs.lstatSync(path, { bigint: true }))
    const fd = this.#anyFd(node)
    return fd === undefined ? -errno.ENOENT : attrReply(node, fs.fstatSync(fd, { bigint: true }))
  }

  #setAttributes(request: Buffer, node: number): Reply {
    const valid = request.readUInt32LE(body)
    const has = (bit: number): boolean => (valid & bit) !== 0
    const path = this.#nodes.path(node)
    const fd = has(setattrBit.fh) ? this.#files.get(number64(request, body + 8))?.fd : this.#anyFd(node)
    if (path === undefined && fd === undefined) return -errno.ENOENT
    const target = path ?? `/proc/self/fd/${fd ?? -1}`
    if (has(setattrBit.mode)) fs.chmodSync(target, request.readUInt32LE(body + 68) & 0o7777)
    if (has(setattrBit.uid) || has(setattrBit.gid)) {
      const uid = has(setattrBit.uid) ? request.readUInt32LE(body + 76) : -1
      const gid = has(setattrBit.gid) ? request.readUInt32LE(body + 80) : -1
      if (path === undefined) fs.chownSync(target, uid, gid)
      else fs.lchownSync(path, uid, gid)
    }
    if (has(setattrBit.size)) fs.truncateSync(target, number64(request, body + 16))
    if (has(setattrBit.atime) || has(setattrBit.mtime)) {
      const now = fs.statSync(target)
      const time = (bit: number, nowBit: number, at: number, nanosAt: number, old: number): number => {
        if (has(nowBit)) return Date.now() / 1000
        return has(bit) ? number64(request, at) + request.readUInt32LE(nanosAt) / 1e9 : old / 1000
      }
      const atime = time(setattrBit.atime, setattrBit.atimeNow, body + 32, body + 56, now.atimeMs)
      const mtime = time(setattrBit.mtime, setattrBit.mtimeNow, body + 40, body + 60, now.mtimeMs)
      fs.utimesSync(target, atime, mtime)
    }
    return this.#attributes(node)
  }

  /** Makes something new, and gives it to who asked for it. */
  #make(request: Buffer, parent: number, name: string | undefined, make: (path: string) => void): Reply {
    const path = this.#childPath(parent, name ?? '')
    make(path)
    fs.lchownSync(path, request.readUInt32LE(24), request.readUInt32LE(28))
    return this.#entry(parent, name)
  }

  #create(request: Buffer, parent: number): Reply {
    const flags = request.readUInt32LE(body)
    const mode = request.readUInt32LE(body + 4) & 0o7777
    const name = names(request, body + 16)[0] ?? ''
    const path = this.#childPath(parent, name)
    const isNew = fs.lstatSync(path, { throwIfNoEntry: false }) === undefined
    // Readable and writable whatever was asked: the kernel has checked, and a lock may need either.
    const fd = fs.openSync(path, (flags & (O_EXCL | O_TRUNC)) | O_CREAT | O_RDWR, mode)
    if (isNew) {
      fs.fchmodSync(fd, mode)
      fs.fchownSync(fd, request.readUInt32LE(24), request.readUInt32LE(28))
    }
    const entry = this.#entry(parent, name)
    if (!Buffer.isBuffer(entry)) return entry
    return Buffer.concat([entry, openReply(this.#opened(fd, number64(entry, 0)), directIo)])
  }

  #remove(request: Buffer, parent: number, remove: (path: string) => void): Reply {
    const name = names(request, body)[0] ?? ''
    remove(this.#childPath(parent, name))
    this.#nodes.unlinked(parent, name)
    return 0
  }

  #rename(request: Buffer, parent: number, flags: number, [from = '', to = '']: string[]): Reply {
    const newParent = number64(request, body)
    const target = this.#childPath(newParent, to)
    if ((flags & ~renameNoReplace) !== 0) return -errno.EINVAL
    if (flags === renameNoReplace && fs.lstatSync(target, { throwIfNoEntry: false }) !== undefined) return -errno.EEXIST
    fs.renameSync(this.#childPath(parent, from), target)
    this.#nodes.renamed(parent, from, newParent, to)
    return 0
  }
}

const lastOffset = 0x7fff_ffff_ffff_ffffn

function lockRange(request: Buffer): LockRange {
  const start = number64(request, body + 16)
  const end = request.readBigUInt64LE(body + 24)
  return {
    start,
    length: end >= lastOffset ? 0 : Number(end) - start + 1,
    type: request.readUInt32LE(body + 32),
  }
}

function entryType(entry: fs.Dirent): number {
  if (entry.isDirectory()) return 4
  if (entry.isSymbolicLink()) return 10
  return entry.isFile() ? 8 : 0
}
