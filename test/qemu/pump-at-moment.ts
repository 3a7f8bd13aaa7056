/**
 * A pump that kills at one moment of its work: `node pump-at-moment.ts MOMENT-FILE ORDER-FILE`. As soon as there is a moment
 * file, the processes that it names die the next time that the moment comes, in the midst of what the pump does. With
 * HOLDFAST_TEST_SYNC_MS its journal's disk takes so many milliseconds more to make anything durable.
 */
import { readFileSync, renameSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  jsonLogger,
  nodeClock,
  nodeFiles,
  nodeNetwork,
  nodeProcesses,
  nodeProcessMemories,
  nodeStreams,
} from '../../src/base/node/index.ts'
import type { FileHandle, Files } from '../../src/base/files.ts'
import type { ProcessMemories, ProcessMemory } from '../../src/base/process-memory.ts'
import type { Streams } from '../../src/base/streams.ts'
import { FrameReader, frameKinds } from '../../src/agent/protect/pump/frames.ts'
import { runPumpProcess } from '../../src/agent/protect/pump/pump-process.ts'

/**
 * - `transfer`: a part of an epoch is here, and more of it is to come.
 * - `journal`: an epoch's writes to the disks are in their journal, and not durable.
 * - `apply`: a part of an epoch's pages is in the second's memory; the epoch was acknowledged.
 */
export type Moment = 'transfer' | 'journal' | 'apply'

export interface MomentFile {
  readonly moment: Moment
  readonly pids: readonly number[]
}

const syncMs = Number(process.env['HOLDFAST_TEST_SYNC_MS'] ?? 0)
const [momentFile = '', order = ''] = process.argv.slice(2)
/** So many bytes of pages are written in one go where there are more. */
const wholeGoBytes = 2 ** 20
const mostBytes = 2 ** 30

function comes(moment: Moment): void {
  let file: MomentFile
  try {
    file = JSON.parse(readFileSync(momentFile, 'utf8')) as MomentFile
  } catch {
    return
  }
  if (file.moment !== moment) return
  renameSync(momentFile, `${momentFile}.was`)
  for (const pid of file.pids) process.kill(pid, 'SIGKILL')
}

function streamsOf(real: Streams): Streams {
  return {
    connect: (...args) => real.connect(...args),
    listenUnix: (...args) => real.listenUnix(...args),
    connectUnix: (...args) => real.connectUnix(...args),
    listen: (at, identity, onStream, onRefused) =>
      real.listen(
        at,
        identity,
        (stream) => {
          const reader = new FrameReader(mostBytes, ({ kind }) => {
            if (kind === frameKinds.part) comes('transfer')
          })
          const emit = stream.emit.bind(stream) as (name: string | symbol, ...args: unknown[]) => boolean
          stream.emit = (name: string | symbol, ...args: unknown[]): boolean => {
            if (name === 'data') reader.take(args[0] as Buffer)
            return emit(name, ...args)
          }
          onStream(stream)
        },
        onRefused,
      ),
  }
}

function filesOf(real: Files): Files {
  return new Proxy(real, {
    get(target, name) {
      if (name !== 'open') return Reflect.get(target, name) as unknown
      return async (...args: Parameters<Files['open']>): Promise<FileHandle> => {
        const handle = await target.open(...args)
        if (!/journal\.[01]$/.test(args[0])) return handle
        const sync = handle.sync.bind(handle)
        handle.sync = async () => {
          comes('journal')
          if (syncMs > 0) await sleep(syncMs)
          await sync()
        }
        return handle
      }
    },
  })
}

function memoriesOf(real: ProcessMemories): ProcessMemories {
  return {
    tryTrackers: () => real.tryTrackers(),
    open: async (...args) => {
      const memory = await real.open(...args)
      const writeMany = memory.writeMany.bind(memory)
      memory.writeMany = (...written: Parameters<ProcessMemory['writeMany']>) => {
        writeMany(...written)
        if (written[1].length === wholeGoBytes) comes('apply')
      }
      return memory
    },
  }
}

const ports = {
  ...{ log: jsonLogger(), network: nodeNetwork(), clock: nodeClock(), processes: nodeProcesses() },
  ...{ streams: streamsOf(nodeStreams()), files: filesOf(nodeFiles()), memories: memoriesOf(nodeProcessMemories()) },
}
await runPumpProcess(ports, order)
process.exit(0)
