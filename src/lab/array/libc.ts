/** The calls of the C library that a storage path needs and Node has no door to. */
import koffi from 'koffi'

export interface LockRange {
  /** 0 shared, 1 exclusive, 2 unlock. */
  type: number
  start: number
  /** 0: to the end of the file. */
  length: number
}

export interface StorageLibc {
  /** F_OFD_SETLK on this descriptor: 0, or minus errno. Never waits. */
  setLock(fd: number, lock: LockRange): number
  /** F_OFD_GETLK: who is in the way; type 2 when nobody. */
  getLock(fd: number, lock: LockRange): LockRange
  /** 0, or minus errno. */
  fallocate(fd: number, mode: number, offset: number, length: number): number
  /** The new offset, or minus errno. */
  lseek(fd: number, offset: number, whence: number): number
}

const ofdGetLock = 36
const ofdSetLock = 37

export function storageLibc(): StorageLibc {
  const library = koffi.load('libc.so.6')
  const fcntl = library.func('int fcntl(int fd, int cmd, ...)')
  const fallocate = library.func('int fallocate(int fd, int mode, int64_t offset, int64_t length)')
  const lseek = library.func('int64_t lseek(int fd, int64_t offset, int whence)')
  const call = (fd: number, command: number, lock: LockRange): { code: number; flock: Buffer } => {
    const flock = Buffer.alloc(32)
    flock.writeInt16LE(lock.type, 0)
    flock.writeBigInt64LE(BigInt(lock.start), 8)
    flock.writeBigInt64LE(BigInt(lock.length), 16)
    const result = fcntl(fd, command, 'void *', flock) as number
    return { code: result < 0 ? -koffi.errno() : 0, flock }
  }
  return {
    setLock: (fd, lock) => call(fd, ofdSetLock, lock).code,
    getLock(fd, lock) {
      const { code, flock } = call(fd, ofdGetLock, lock)
      if (code < 0) return { ...lock, type: 2 }
      return {
        type: flock.readInt16LE(0),
        start: Number(flock.readBigInt64LE(8)),
        length: Number(flock.readBigInt64LE(16)),
      }
    },
    fallocate: (fd, mode, offset, length) => ((fallocate(fd, mode, offset, length) as number) < 0 ? -koffi.errno() : 0),
    lseek(fd, offset, whence) {
      const at = Number(lseek(fd, offset, whence))
      return at < 0 ? -koffi.errno() : at
    },
  }
}
