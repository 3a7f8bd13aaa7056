/**
 * The few calls of the C library that Node has no door to. Loaded at first use, so that programs that need none of them
 * do not pay for it.
 */
import koffi from 'koffi'

export interface Libc {
  /** Nanoseconds of a clock, by its number in linux/time.h. */
  clockNanoseconds(clock: number): bigint
  /** A pidfd, or a negative number when there is no such process. */
  pidfdOpen(pid: number): number
  /** 0, or a negative number when the process is gone. */
  pidfdSendSignal(pidfd: number, signal: number): number
  /** 0, or minus errno. */
  ioctl(fd: number, request: bigint, argument: Uint8Array): number
  /**
   * Reads ranges of another process, one after the other, into memory of this one. Pairs of address and length; the number
   * of bytes, or minus errno.
   */
  processVmRead(pid: number, into: BigUint64Array, from: BigUint64Array): number
  /** The other way: writes memory of this one into ranges of another process. */
  processVmWrite(pid: number, from: BigUint64Array, into: BigUint64Array): number
  /** The process that listens (or connected) at the other end of a unix socket, as it was when that began; -1: none. */
  peerPid(fd: number): number
  /** Sets a parameter of the allocator, by its number in malloc.h. */
  mallopt(parameter: number, value: number): void
  /** Gives the allocator's free pages back to the system. */
  mallocTrim(): void
}

const [SOL_SOCKET, SO_PEERCRED] = [1, 17]

let loaded: Libc | undefined

/** The C library of this process. Throws where it cannot be loaded (another libc than glibc 2.36 or newer). */
export function libc(): Libc {
  loaded ??= load()
  return loaded
}

function load(): Libc {
  const library = koffi.load('libc.so.6')
  const clockGettime = library.func('int clock_gettime(int clock, void *timespec)')
  const pidfdOpen = library.func('int pidfd_open(int pid, unsigned int flags)')
  const pidfdSendSignal = library.func('int pidfd_send_signal(int fd, int signal, void *info, unsigned int flags)')
  const ioctl = library.func('int ioctl(int fd, unsigned long request, void *argument)')
  const getsockopt = library.func('int getsockopt(int fd, int level, int name, void *value, void *length)')
  const processVm = (name: string): ReturnType<typeof library.func> =>
    library.func(
      `long ${name}(int pid, void *here, unsigned long hereCount, void *there, unsigned long thereCount, unsigned long flags)`,
    )
  const processVmRead = processVm('process_vm_readv')
  const processVmWrite = processVm('process_vm_writev')
  const mallopt = library.func('int mallopt(int parameter, int value)')
  const mallocTrim = library.func('int malloc_trim(size_t pad)')
  const timespec = new BigInt64Array(2)
  return {
    clockNanoseconds(clock) {
      if (clockGettime(clock, timespec) !== 0) throw new Error(`clock ${clock} cannot be read`)
      return (timespec[0] ?? 0n) * 1_000_000_000n + (timespec[1] ?? 0n)
    },
    pidfdOpen: (pid) => pidfdOpen(pid, 0) as number,
    pidfdSendSignal: (pidfd, signal) => pidfdSendSignal(pidfd, signal, null, 0) as number,
    ioctl(fd, request, argument) {
      const result = ioctl(fd, request, argument) as number
      return result < 0 ? -koffi.errno() : result
    },
    processVmRead(pid, into, from) {
      const result = processVmRead(pid, into, into.length / 2, from, from.length / 2, 0) as number
      return result < 0 ? -koffi.errno() : result
    },
    processVmWrite(pid, from, into) {
      const result = processVmWrite(pid, from, from.length / 2, into, into.length / 2, 0) as number
      return result < 0 ? -koffi.errno() : result
    },
    peerPid(fd) {
      const credentials = new Int32Array(3)
      const length = new Uint32Array([credentials.byteLength])
      const result = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, credentials, length) as number
      return result === 0 ? (credentials[0] ?? -1) : -1
    },
    mallopt: (parameter, value) => void mallopt(parameter, value),
    mallocTrim: () => void mallocTrim(0),
  }
}
