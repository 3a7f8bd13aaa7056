/**
 * Which trackers work on this machine: each is really tried, on the memory of a process that is started for it. That
 * process writes by its own system calls; it is no child of this one, which may not trace its children.
 */
import { readFile } from 'node:fs/promises'
import { setTimeout } from 'node:timers/promises'
import { describeError, HoldfastError } from '../errors.ts'
import {
  pageBytes,
  trackerKinds,
  type MemoryRange,
  type ProcessMemories,
  type ProcessMemory,
  type TrackerKind,
  type TrackerTrial,
} from '../process-memory.ts'
import { nodeProcesses } from './processes.ts'
import { withRemoteCalls } from './remote-calls.ts'

/** System calls of x86-64. */
const [MMAP, GETRANDOM] = [9n, 318n]
const [PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS] = [3n, 0x22n]
const pages = 64
/** Written before the tracking begins, so that they are there. */
const touched = [3, 4, 40]
const rounds = [[3, 17, 63], [17], []]
/** Of a round's pages, so many more may be told than were written: a tracker that always tells all is of no use. */
const mostMore = 8
const startMs = 5000

export async function tryTrackers(memories: ProcessMemories): Promise<TrackerTrial[]> {
  const stop = new AbortController()
  try {
    const pid = await startScratch(stop.signal)
    const trials: TrackerTrial[] = []
    for (const kind of trackerKinds) {
      const problem = await tryTracker(memories, pid, kind).then(() => null, describeError)
      trials.push({ kind, problem })
    }
    return trials
  } catch (thrown) {
    return trackerKinds.map((kind) => ({ kind, problem: describeError(thrown) }))
  } finally {
    stop.abort(new HoldfastError('cancelled', 'the trial is over'))
  }
}

/** A process that does nothing, whose parent is a shell. It ends when the signal aborts, and by itself after a minute. */
async function startScratch(signal: AbortSignal): Promise<number> {
  const told = Promise.withResolvers<string>()
  nodeProcesses()
    .run('sh', ['-c', 'sleep 60 & echo $!; wait'], { signal, onStdout: told.resolve })
    .then(() => told.reject(new HoldfastError('host-error', 'the process for the trial has ended')), told.reject)
  const pid = Number.parseInt(await told.promise, 10)
  for (let passedMs = 0; (await readFile(`/proc/${pid}/comm`, 'utf8')) !== 'sleep\n'; passedMs++) {
    if (passedMs > startMs) throw new HoldfastError('timeout', 'the process for the trial does not begin')
    await setTimeout(1)
  }
  return pid
}

async function tryTracker(memories: ProcessMemories, pid: number, kind: TrackerKind): Promise<void> {
  const start = await map(pid)
  await write(pid, start, touched)
  await using memory = await memories.open(pid)
  const tracking = await memory.trackWrites([{ start, bytes: pages * pageBytes }], kind)
  try {
    const first = pagesOf(tracking.take(), start)
    if (first.size !== pages) throw wrong(`of ${pages} pages that are all new it told ${first.size}`)
    for (const round of rounds) {
      await write(pid, start, round)
      const told = pagesOf(tracking.take(), start)
      const missed = round.filter((page) => !told.has(page))
      if (missed.length > 0) throw wrong(`it missed ${missed.length} of ${round.length} written pages`)
      if (told.size > round.length + mostMore) throw wrong(`it told ${told.size} pages in place of ${round.length}`)
      for (const page of round) mustBeAsRead(memory, tracking, start + page * pageBytes)
    }
  } finally {
    await tracking.stop()
  }
}

function mustBeAsRead(memory: ProcessMemory, tracking: Pick<ProcessMemory, 'read'>, address: number): void {
  const [there, told] = [Buffer.alloc(pageBytes), Buffer.alloc(pageBytes)]
  memory.read(address, there)
  tracking.read(address, told)
  if (!there.equals(told)) throw wrong('it told other bytes than are there')
}

function wrong(what: string): HoldfastError {
  return new HoldfastError('host-error', `tried, and ${what}`)
}

async function map(pid: number): Promise<number> {
  const bytes = BigInt(pages * pageBytes)
  const at = await withRemoteCalls(pid, ({ call }) =>
    call(MMAP, 0n, bytes, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1n, 0n),
  )
  if (at < 0n) throw new HoldfastError('host-error', `the process for the trial has no room (errno ${-at})`)
  return Number(at)
}

/** The process fills the beginning of these pages with random bytes. */
async function write(pid: number, start: number, which: readonly number[]): Promise<void> {
  await withRemoteCalls(pid, async ({ call }) => {
    for (const page of which) {
      const written = await call(GETRANDOM, BigInt(start + page * pageBytes), 32n, 0n)
      if (written !== 32n) throw new HoldfastError('host-error', `the process for the trial cannot write (${written})`)
    }
  })
}

function pagesOf(ranges: readonly MemoryRange[], start: number): Set<number> {
  const found = new Set<number>()
  for (const range of ranges) {
    for (let at = range.start; at < range.start + range.bytes; at += pageBytes) found.add((at - start) / pageBytes)
  }
  return found
}
