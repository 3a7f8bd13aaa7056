/**
 * Watches a range of another process's memory, as a program of its own (who tracks a process may not be its parent).
 * A line on standard input is a command, a line of JSON on standard output its answer:
 *
 *   memory-watcher.ts PID START BYTES TRACKER
 *   track    begins                     {}
 *   take     what was written           { pages }
 *   round    the same, compared with a  { pages, missed }: pages that differ from the last round's copy and were not
 *            copy of the whole range    reported
 *   stop     ends the tracking          {}
 */
import { createInterface } from 'node:readline'
import { nodeProcessMemories } from '../../src/base/node/index.ts'
import { pageBytes, type MemoryRange, type TrackerKind, type WriteTracking } from '../../src/base/process-memory.ts'

const [pid = 0, start = 0, bytes = 0] = process.argv.slice(2, 5).map(Number)
const tracker = process.argv[5] as TrackerKind
const range: MemoryRange = { start, bytes }
await using memory = await nodeProcessMemories().open(pid)
let tracking: WriteTracking | undefined
let copy = new Uint8Array(0)

function take(): Set<number> {
  const pages = new Set<number>()
  for (const written of tracking?.take() ?? []) {
    for (let at = written.start; at < written.start + written.bytes; at += pageBytes)
      pages.add((at - start) / pageBytes)
  }
  return pages
}

/** How many pages changed since the last round without having been reported. */
function missed(reported: ReadonlySet<number>): number {
  const now = new Uint8Array(bytes)
  memory.read(start, now)
  let count = 0
  for (let page = 0; copy.length > 0 && page * pageBytes < bytes; page++) {
    const [from, to] = [page * pageBytes, (page + 1) * pageBytes]
    if (Buffer.compare(copy.subarray(from, to), now.subarray(from, to)) !== 0 && !reported.has(page)) count++
  }
  copy = now
  return count
}

async function answer(command: string): Promise<object> {
  switch (command) {
    case 'track':
      tracking = await memory.trackWrites([range], tracker)
      return {}
    case 'take':
      return { pages: take().size }
    case 'round': {
      const reported = take()
      return { pages: reported.size, missed: missed(reported) }
    }
    case 'stop':
      await tracking?.stop()
      return {}
    default:
      throw new Error(`unknown command ${command}`)
  }
}

for await (const command of createInterface({ input: process.stdin })) {
  process.stdout.write(
    `${JSON.stringify(await answer(command).catch((thrown: unknown) => ({ error: String(thrown) })))}\n`,
  )
}
