/**
 * Makes a running process make system calls, by ptrace: its main thread is stopped for a few milliseconds, its registers
 * are set to one `syscall` instruction of its vDSO after the other, and then put back, so that the call which the stop
 * has cut short is begun again by the kernel. Nothing of ours has to be in the process, and its seccomp filter applies.
 *
 * If the caller is killed in those milliseconds the process dies with it. The caller is never the process's parent: to the
 * event loop of a parent a stop looks like the end of the child.
 */
import { readFile, open as openFile, type FileHandle } from 'node:fs/promises'
import { setImmediate } from 'node:timers/promises'
import koffi from 'koffi'
import { HoldfastError } from '../errors.ts'

/** From linux/ptrace.h. */
const [PTRACE_SINGLESTEP, PTRACE_GETREGS, PTRACE_SETREGS, PTRACE_DETACH] = [9, 12, 13, 17]
const [PTRACE_SEIZE, PTRACE_INTERRUPT] = [0x4206, 0x4207]
const [WNOHANG, allThreads] = [1, 0x40000000]
const SIGTRAP = 5
/** struct user_regs_struct: offsets of what a call needs. */
const registersBytes = 27 * 8
const at = { r10: 56, r9: 64, r8: 72, rax: 80, rdx: 96, rsi: 104, rdi: 112, originalRax: 120, rip: 128 }
const argumentsAt = [at.rdi, at.rsi, at.rdx, at.r10, at.r8, at.r9]
const [MMAP, MUNMAP] = [9n, 11n]
const [PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS] = [3n, 0x22n]
const patienceMs = 2000

export interface RemoteCalls {
  /** Makes one call. Gives its result, minus errno where it failed. */
  readonly call: (number: bigint, ...args: readonly bigint[]) => Promise<bigint>
  /** A page of the process for arguments; holds these bytes now. */
  readonly put: (bytes: Uint8Array) => Promise<bigint>
}

/** Stops the process, does the work, lets it go on. */
export async function withRemoteCalls<T>(pid: number, work: (calls: RemoteCalls) => Promise<T>): Promise<T> {
  const { ptrace } = functions()
  await refuseParent(pid)
  const memory = await openFile(`/proc/${pid}/mem`, 'r+')
  try {
    const instruction = await findSyscall(pid, memory)
    must(ptrace(PTRACE_SEIZE, pid, 0, 0), pid, 'cannot be traced')
    let saved: Buffer | undefined
    try {
      must(ptrace(PTRACE_INTERRUPT, pid, 0, 0), pid, 'cannot be stopped')
      await stopped(pid)
      saved = Buffer.alloc(registersBytes)
      must(ptrace(PTRACE_GETREGS, pid, 0, koffi.address(saved)), pid, 'has no registers')
      return await withPage(pid, memory, saved, instruction, work)
    } finally {
      if (saved !== undefined) ptrace(PTRACE_SETREGS, pid, 0, koffi.address(saved))
      ptrace(PTRACE_DETACH, pid, 0, 0)
    }
  } finally {
    await memory.close()
  }
}

async function withPage<T>(
  pid: number,
  memory: FileHandle,
  saved: Buffer,
  instruction: bigint,
  work: (calls: RemoteCalls) => Promise<T>,
): Promise<T> {
  const call = (number: bigint, ...args: readonly bigint[]) => makeCall(pid, saved, instruction, number, args)
  const page = await call(MMAP, 0n, 4096n, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1n, 0n)
  if (page < 0n) throw new HoldfastError('host-error', `process ${pid} has no room for a page (errno ${-page})`)
  try {
    const put = async (bytes: Uint8Array): Promise<bigint> => {
      await memory.write(bytes, 0, bytes.length, Number(page))
      return page
    }
    return await work({ call, put })
  } finally {
    await call(MUNMAP, page, 4096n)
  }
}

async function makeCall(
  pid: number,
  saved: Buffer,
  instruction: bigint,
  number: bigint,
  args: readonly bigint[],
): Promise<bigint> {
  const { ptrace } = functions()
  const registers = Buffer.from(saved)
  registers.writeBigInt64LE(number, at.rax)
  // No call is to be begun again while these registers are in place.
  registers.writeBigInt64LE(-1n, at.originalRax)
  registers.writeBigUInt64LE(instruction, at.rip)
  for (const [index, offset] of argumentsAt.entries()) registers.writeBigInt64LE(args[index] ?? 0n, offset)
  must(ptrace(PTRACE_SETREGS, pid, 0, koffi.address(registers)), pid, 'takes no registers')
  must(ptrace(PTRACE_SINGLESTEP, pid, 0, 0), pid, 'does not step')
  const signal = await stopped(pid)
  if (signal !== SIGTRAP) throw new HoldfastError('host-error', `process ${pid} was interrupted by signal ${signal}`)
  must(ptrace(PTRACE_GETREGS, pid, 0, koffi.address(registers)), pid, 'has no registers')
  return registers.readBigInt64LE(at.rax)
}

async function refuseParent(pid: number): Promise<void> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  if (!new RegExp(`^PPid:\\s+${process.pid}$`, 'm').test(status)) return
  throw new HoldfastError('internal', `process ${pid} is a child of this one, which may not stop it`)
}

/** Resolves with the signal that stopped it. Not by a waiting call, which would stop this program too. */
async function stopped(pid: number): Promise<number> {
  const { waitpid } = functions()
  const status = Buffer.alloc(4)
  const until = performance.now() + patienceMs
  for (;;) {
    const found = waitpid(pid, status, WNOHANG | allThreads)
    if (found === pid) {
      const word = status.readInt32LE(0)
      if ((word & 0xff) === 0x7f) return (word >> 8) & 0xff
      throw new HoldfastError('host-error', `process ${pid} has ended`)
    }
    if (found < 0) throw new HoldfastError('host-error', `process ${pid} cannot be waited for (errno ${koffi.errno()})`)
    if (performance.now() > until) {
      throw new HoldfastError('timeout', `process ${pid} did not stop within ${patienceMs} ms`, {
        mend: 'It is stuck in the kernel: its storage does not answer.',
      })
    }
    await setImmediate()
  }
}

/** Address of a `syscall` instruction: the vDSO always has one. */
async function findSyscall(pid: number, memory: FileHandle): Promise<bigint> {
  const maps = await readFile(`/proc/${pid}/maps`, 'utf8')
  const row = /^([0-9a-f]+)-([0-9a-f]+) .*\[vdso\]$/m.exec(maps)
  if (row !== null) {
    const [start, end] = [Number(`0x${row[1]}`), Number(`0x${row[2]}`)]
    const code = Buffer.alloc(end - start)
    await memory.read(code, 0, code.length, start)
    const offset = code.indexOf(Buffer.from([0x0f, 0x05]))
    if (offset >= 0) return BigInt(start + offset)
  }
  throw new HoldfastError('refused', `process ${pid} has no vDSO with a system call in it`)
}

function must(result: number, pid: number, what: string): void {
  if (result >= 0) return
  throw new HoldfastError('host-error', `process ${pid} ${what} (errno ${koffi.errno()})`)
}

interface Functions {
  readonly ptrace: (request: number, pid: number, address: number, data: number | bigint) => number
  readonly waitpid: (pid: number, status: Buffer, options: number) => number
}

let loaded: Functions | undefined

function functions(): Functions {
  if (loaded === undefined) {
    const library = koffi.load('libc.so.6')
    loaded = {
      ptrace: library.func(
        'long ptrace(long request, int pid, intptr_t address, intptr_t data)',
      ) as Functions['ptrace'],
      waitpid: library.func('int waitpid(int pid, void *status, int options)') as Functions['waitpid'],
    }
  }
  return loaded
}
