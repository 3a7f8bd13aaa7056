/** Reading other processes' memory, and knowing what they write, by whatever the kernel has for it. */
import { open as openFile, readFile, readlink, type FileHandle } from 'node:fs/promises'
import { readSync, writeSync } from 'node:fs'
import koffi from 'koffi'
import { HoldfastError } from '../errors.ts'
import { fileErrorCode } from '../files.ts'
import { ComparisonTracking } from '../comparison-tracking.ts'
import type { MemoryRange, ProcessMemories, ProcessMemory, TrackerKind, WriteTracking } from '../process-memory.ts'
import { libc } from './libc.ts'
import { trackBySoftDirty } from './soft-dirty.ts'
import { tryTrackers } from './tracker-trials.ts'
import { trackByUserfaultfd } from './userfaultfd.ts'

/** The real memory of real processes. */
export function nodeProcessMemories(): ProcessMemories {
  const memories: ProcessMemories = {
    tryTrackers: () => tryTrackers(memories),
    async open(pid, mode = 'read') {
      try {
        return new NodeProcessMemory(pid, await openFile(`/proc/${pid}/mem`, mode === 'read' ? 'r' : 'r+'))
      } catch (thrown) {
        if (fileErrorCode(thrown) !== 'ENOENT') throw thrown
        throw new HoldfastError('not-found', `there is no process ${pid}`)
      }
    },
  }
  return memories
}

/** What is zero at first has no file: it follows on the data that the program's file begins. See proc_pid_maps(5). */
function writableDataIn(maps: string, program: string): MemoryRange[] {
  const found: MemoryRange[] = []
  let end = -1
  for (const [, from = '', to = '', rights = '', inode = '', path = ''] of maps.matchAll(mapLine)) {
    const [start, next] = [Number.parseInt(from, 16), Number.parseInt(to, 16)]
    const isOfProgram = path === program || (inode === '0' && path === '' && start === end)
    if (!isOfProgram) continue
    end = next
    if (rights.startsWith('rw')) found.push({ start, bytes: next - start })
  }
  return found
}

const mapLine = /^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ (\d+) *(.*)$/gm

/** No more pieces are taken by one call (UIO_MAXIOV). */
const rangesAtOnce = 1024

/** As many ranges as go into one call, with their part of `bytes`. */
function* someOf(
  ranges: readonly MemoryRange[],
  bytes: Uint8Array,
): Generator<{ some: MemoryRange[]; part: Uint8Array }> {
  let done = 0
  for (let at = 0; at < ranges.length; at += rangesAtOnce) {
    const some = ranges.slice(at, at + rangesAtOnce)
    const length = some.reduce((sum, range) => sum + range.bytes, 0)
    yield { some, part: bytes.subarray(done, (done += length)) }
  }
}

/** As `struct iovec` has it. */
function piecesOf(ranges: readonly MemoryRange[]): BigUint64Array {
  const pieces = new BigUint64Array(ranges.length * 2)
  for (const [index, { start, bytes }] of ranges.entries()) {
    pieces[index * 2] = BigInt(start)
    pieces[index * 2 + 1] = BigInt(bytes)
  }
  return pieces
}

function partsOf(bytes: Uint8Array): BigUint64Array {
  return new BigUint64Array([koffi.address(bytes), BigInt(bytes.length)])
}

class NodeProcessMemory implements ProcessMemory {
  readonly #pid: number
  readonly #memory: FileHandle

  constructor(pid: number, memory: FileHandle) {
    this.#pid = pid
    this.#memory = memory
  }

  read(address: number, into: Uint8Array): void {
    for (let done = 0; done < into.length;) {
      const count = readSync(this.#memory.fd, into, done, into.length - done, address + done)
      if (count === 0) throw new HoldfastError('host-error', `process ${this.#pid} has nothing at ${address + done}`)
      done += count
    }
  }

  readMany(ranges: readonly MemoryRange[], into: Uint8Array): void {
    for (const { some, part } of someOf(ranges, into)) {
      if (libc().processVmRead(this.#pid, partsOf(part), piecesOf(some)) === part.length) continue
      // Refused, or a part of it is not there: one by one it is said what is wrong.
      let done = 0
      for (const { start, bytes } of some) this.read(start, part.subarray(done, (done += bytes)))
    }
  }

  write(address: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length;) {
      const count = writeSync(this.#memory.fd, bytes, done, bytes.length - done, address + done)
      if (count === 0) throw new HoldfastError('host-error', `process ${this.#pid} has nothing at ${address + done}`)
      done += count
    }
  }

  writeMany(ranges: readonly MemoryRange[], from: Uint8Array): void {
    for (const { some, part } of someOf(ranges, from)) {
      if (libc().processVmWrite(this.#pid, partsOf(part), piecesOf(some)) === part.length) continue
      // Refused, or a part of it may be read only, which is no hindrance to the other way.
      let done = 0
      for (const { start, bytes } of some) this.write(start, part.subarray(done, (done += bytes)))
    }
  }

  async programData(): Promise<MemoryRange[]> {
    const program = await readlink(`/proc/${this.#pid}/exe`)
    return writableDataIn(await readFile(`/proc/${this.#pid}/maps`, 'utf8'), program)
  }

  async trackWrites(ranges: readonly MemoryRange[], kind: TrackerKind): Promise<WriteTracking> {
    switch (kind) {
      case 'userfaultfd':
        return await trackByUserfaultfd(this.#pid, this, ranges)
      case 'soft-dirty':
        return await trackBySoftDirty(this.#pid, this, ranges)
      case 'comparison':
        return new ComparisonTracking(this, ranges)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#memory.close()
  }
}
