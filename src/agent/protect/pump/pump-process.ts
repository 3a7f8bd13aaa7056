/**
 * The process of one pump. Started detached by an agent, which it outlives. All that it is to do is in the order, all that it
 * decides in its durable memory; what it says meanwhile goes to its log and its control socket.
 */
import { setPriority } from 'node:os'
import { dirname, join } from 'node:path'
import {
  jsonLogger,
  nodeClock,
  nodeFiles,
  nodeNetwork,
  nodeProcesses,
  nodeProcessMemories,
  nodeStreams,
} from '../../../base/node/index.ts'
import { processFile, type OrderFile } from './order-file.ts'
import { runPump, type PumpPorts } from './run-pump.ts'

/** An epoch that comes late holds the guest's output; a word of life that comes late costs a takeover. */
const highPriority = -15
const knownMs = 5000

/** `path`: of the order. `ports`: what a test has it do its work with, of what it would use. Ends the process. */
export async function runPumpProcess(path: string, ports = (real: PumpPorts): PumpPorts => real): Promise<never> {
  await untilEnd(path, ports)
  process.exit(0)
}

async function untilEnd(path: string, portsOf: (real: PumpPorts) => PumpPorts): Promise<void> {
  const order = JSON.parse(await nodeFiles().readText(path)) as OrderFile
  const log = jsonLogger().child({ vm: order.order.vm, pump: order.side })
  try {
    setPriority(highPriority)
  } catch {
    log.warn({}, 'this pump may not have a higher priority')
  }
  using network = nodeNetwork()
  // An agent that died before it could note which process this is must not find a pump that nobody knows of.
  if (!(await isKnown(dirname(path)))) {
    log.warn({}, 'whoever started this pump does not know it')
    return
  }
  const ports = {
    ...{ log, network, clock: nodeClock(), files: nodeFiles(), processes: nodeProcesses() },
    ...{ memories: nodeProcessMemories(), streams: nodeStreams() },
  }
  await runPump(portsOf(ports), order, dirname(path))
}

async function isKnown(runDirectory: string): Promise<boolean> {
  const clock = nodeClock()
  const until = clock.monotonic() + knownMs
  while (clock.monotonic() < until) {
    const found = await nodeFiles()
      .readText(join(runDirectory, processFile))
      .catch(() => '')
    if (found.includes(`"pid":${process.pid},`)) return true
    await clock.sleep(5)
  }
  return false
}
