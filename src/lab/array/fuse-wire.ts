/** The kernel's FUSE protocol (linux/fuse.h, version 7.31), as far as a storage path speaks it. Little-endian, packed. */
import type { BigIntStats, StatsFs } from 'node:fs'

export const opcode = {
  lookup: 1,
  forget: 2,
  getattr: 3,
  setattr: 4,
  readlink: 5,
  symlink: 6,
  mknod: 8,
  mkdir: 9,
  unlink: 10,
  rmdir: 11,
  rename: 12,
  link: 13,
  open: 14,
  read: 15,
  write: 16,
  statfs: 17,
  release: 18,
  fsync: 20,
  flush: 25,
  init: 26,
  opendir: 27,
  readdir: 28,
  releasedir: 29,
  fsyncdir: 30,
  getlk: 31,
  setlk: 32,
  setlkw: 33,
  create: 35,
  interrupt: 36,
  destroy: 38,
  batchForget: 42,
  fallocate: 43,
  rename2: 45,
  lseek: 46,
} as const

export const inHeaderBytes = 40
export const outHeaderBytes = 16
/** The largest write (and read) that the kernel sends in one request. */
export const maxTransferBytes = 1024 * 1024

/** Every open bypasses the page cache of the mount, so that what one host writes the next one reads. */
export const directIo = 1

/** Bits of `valid` in a SETATTR. */
export const setattrBit = {
  mode: 1,
  uid: 2,
  gid: 4,
  size: 8,
  atime: 16,
  mtime: 32,
  fh: 64,
  atimeNow: 128,
  mtimeNow: 256,
} as const

const flagAsyncRead = 1 << 0
const flagPosixLocks = 1 << 1
const flagAtomicTruncate = 1 << 3
const flagBigWrites = 1 << 5
const flagAsyncDirectIo = 1 << 15
const flagParallelFolders = 1 << 18
const flagMaxPages = 1 << 22

/** The answer to INIT: the intersection of what the kernel offers and what we want. */
export function initReply(request: Buffer): Buffer {
  const minor = request.readUInt32LE(inHeaderBytes + 4)
  const offered = request.readUInt32LE(inHeaderBytes + 12)
  const wanted =
    flagAsyncRead |
    flagPosixLocks |
    flagAtomicTruncate |
    flagBigWrites |
    flagAsyncDirectIo |
    flagParallelFolders |
    flagMaxPages
  const body = Buffer.alloc(64)
  body.writeUInt32LE(7, 0)
  body.writeUInt32LE(Math.min(minor, 31), 4)
  body.writeUInt32LE(128 * 1024, 8)
  body.writeUInt32LE((offered & wanted) >>> 0, 12)
  body.writeUInt16LE(64, 16)
  body.writeUInt16LE(48, 18)
  body.writeUInt32LE(maxTransferBytes, 20)
  body.writeUInt32LE(1, 24)
  body.writeUInt16LE(maxTransferBytes / 4096, 28)
  return body
}

const attrBytes = 88

/** `struct fuse_attr`. The inode number shown is the node's own number, unique over all that the mount carries. */
function writeAttr(body: Buffer, at: number, node: number, stat: BigIntStats): void {
  body.writeBigUInt64LE(BigInt(node), at)
  body.writeBigUInt64LE(stat.size, at + 8)
  body.writeBigUInt64LE(stat.blocks, at + 16)
  const times = [stat.atimeNs, stat.mtimeNs, stat.ctimeNs]
  times.forEach((ns, i) => {
    body.writeBigInt64LE(ns / 1_000_000_000n, at + 24 + 8 * i)
    body.writeUInt32LE(Number(ns % 1_000_000_000n), at + 48 + 4 * i)
  })
  body.writeUInt32LE(Number(stat.mode), at + 60)
  body.writeUInt32LE(Number(stat.nlink), at + 64)
  body.writeUInt32LE(Number(stat.uid), at + 68)
  body.writeUInt32LE(Number(stat.gid), at + 72)
  body.writeUInt32LE(Number(stat.rdev), at + 76)
  body.writeUInt32LE(4096, at + 80)
}

/** Names and attributes are valid for no time at all: another host may change them. */
export function attrReply(node: number, stat: BigIntStats): Buffer {
  const body = Buffer.alloc(16 + attrBytes)
  writeAttr(body, 16, node, stat)
  return body
}

export function entryReply(node: number, stat: BigIntStats): Buffer {
  const body = Buffer.alloc(40 + attrBytes)
  body.writeBigUInt64LE(BigInt(node), 0)
  writeAttr(body, 40, node, stat)
  return body
}

export function openReply(handle: number, flags: number): Buffer {
  const body = Buffer.alloc(16)
  body.writeBigUInt64LE(BigInt(handle), 0)
  body.writeUInt32LE(flags, 8)
  return body
}

export function statfsReply(stat: StatsFs): Buffer {
  const body = Buffer.alloc(80)
  const counts = [stat.blocks, stat.bfree, stat.bavail, stat.files, stat.ffree]
  counts.forEach((count, i) => body.writeBigUInt64LE(BigInt(count), 8 * i))
  body.writeUInt32LE(stat.bsize, 40)
  body.writeUInt32LE(255, 44)
  body.writeUInt32LE(stat.bsize, 48)
  return body
}

export interface FolderEntry {
  readonly name: string
  /** DT_… of dirent.h. */
  readonly type: number
}

/** As many entries from `offset` on as fit in `size` bytes; an entry's own offset is where the next one begins. */
export function folderReply(entries: readonly FolderEntry[], offset: number, size: number): Buffer {
  const parts: Buffer[] = []
  let used = 0
  for (let i = offset; i < entries.length; i++) {
    const entry = entries[i]
    if (entry === undefined) break
    const name = Buffer.from(entry.name)
    const bytes = Math.ceil((24 + name.length) / 8) * 8
    if (used + bytes > size) break
    const part = Buffer.alloc(bytes)
    part.writeBigUInt64LE(0xffff_ffffn, 0)
    part.writeBigUInt64LE(BigInt(i + 1), 8)
    part.writeUInt32LE(name.length, 16)
    part.writeUInt32LE(entry.type, 20)
    name.copy(part, 24)
    parts.push(part)
    used += bytes
  }
  return Buffer.concat(parts)
}

/** A 64-bit number that is known to be small (a node, a handle, an offset within a file). */
export function number64(buffer: Buffer, at: number): number {
  return Number(buffer.readBigUInt64LE(at))
}

/** NUL-terminated names that follow a request's fixed part. */
export function names(request: Buffer, at: number): string[] {
  return request
    .subarray(at, request.length - 1)
    .toString('utf8')
    .split('\0')
}
