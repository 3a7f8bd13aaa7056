/**
 * The memory of a program that runs for months and rests most of the time. The C library keeps what was freed for the next
 * time, buffers of a large transfer among it, and grows an arena for each thread; V8 keeps the pages that it needed while
 * the program was loaded, and collects little while little is made. Left alone, an agent that once read an image stays
 * half as large again as it needs to be.
 */
import { Session } from 'node:inspector/promises'
import { libc } from './libc.ts'

const [arenaMax, mmapThreshold] = [-8, -3]
/** From here on a buffer is mapped by itself, so that freeing it gives it back at once. */
const ownMappingBytes = 1024 * 1024
/** Growth since the last time that is worth the pause of a collection. */
const worthBytes = 4 * 1024 * 1024
/** Share of a core below which the process counts as resting: nobody then waits for what the collection holds up. */
const restingShare = 0.1

/**
 * Keeps this process small at rest, until it is disposed of: looks after the times given (milliseconds), the last of them
 * again and again. Where the C library cannot be called, it does nothing.
 */
export function keepMemoryLow(firstLookMs = 10_000, lookEveryMs = 30_000): Disposable {
  try {
    libc().mallopt(arenaMax, 2)
    libc().mallopt(mmapThreshold, ownMappingBytes)
  } catch {
    return { [Symbol.dispose]: () => undefined }
  }
  let least = 0
  let isOver = false
  let timer: NodeJS.Timeout
  const look = async (usedBefore: NodeJS.CpuUsage, passedMs: number): Promise<void> => {
    const used = process.cpuUsage(usedBefore)
    const isResting = (used.user + used.system) / 1000 < passedMs * restingShare
    if (isResting && process.memoryUsage.rss() > least + worthBytes) {
      await collect()
      libc().mallocTrim()
      least = process.memoryUsage.rss()
    }
    if (!isOver) lookIn(lookEveryMs)
  }
  const lookIn = (ms: number): void => {
    const before = process.cpuUsage()
    timer = setTimeout(() => void look(before, ms), ms).unref()
  }
  lookIn(firstLookMs)
  return {
    [Symbol.dispose]: () => {
      isOver = true
      clearTimeout(timer)
    },
  }
}

/** A whole collection, which also gives back the pages that V8 holds ready. */
async function collect(): Promise<void> {
  const session = new Session()
  session.connect()
  try {
    await session.post('HeapProfiler.collectGarbage')
  } finally {
    session.disconnect()
  }
}
