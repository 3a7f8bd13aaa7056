/**
 * What the process of one pump does. Started detached by an agent, which it outlives. All that it is to do is in the order,
 * all that it decides in its durable memory; what it says meanwhile goes to its log and its control socket.
 */
import { setPriority } from 'node:os'
import { dirname, join } from 'node:path'
import { processFile, type OrderFile } from './order-file.ts'
import { runPump, type PumpPorts } from './run-pump.ts'

/** An epoch that comes late holds the guest's output; a word of life that comes late costs a takeover. */
const highPriority = -15
const knownMs = 5000

/** `path`: of the order's file. Resolves when all is done. */
export async function runPumpProcess(ports: PumpPorts, path: string): Promise<void> {
  const order = JSON.parse(await ports.files.readText(path)) as OrderFile
  const log = ports.log.child({ vm: order.order.vm, pump: order.side })
  try {
    setPriority(highPriority)
  } catch {
    log.warn({}, 'this pump may not have a higher priority')
  }
  // An agent that died before it could note which process this is must not find a pump that nobody knows of.
  if (await isKnown(ports, dirname(path))) await runPump({ ...ports, log }, order, dirname(path))
  else log.warn({}, 'whoever started this pump does not know it')
}

async function isKnown({ clock, files }: PumpPorts, runDirectory: string): Promise<boolean> {
  const until = clock.monotonic() + knownMs
  while (clock.monotonic() < until) {
    const found = await files.readText(join(runDirectory, processFile)).catch(() => '')
    if (found.includes(`"pid":${process.pid},`)) return true
    await clock.sleep(5)
  }
  return false
}
