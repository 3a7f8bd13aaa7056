/**
 * A lab host's init, the stand-in for systemd: keeps the host's services running, with growing pauses after failures, and
 * reads its list of services anew on SIGHUP. A service's own children (guests, sessions of their own) are left alone when
 * it restarts. Init ends on SIGTERM, its services first.
 */
import { describeError } from '../base/errors.ts'
import { fileErrorCode } from '../base/files.ts'
import type { Logger } from '../base/log.ts'
import { initFolder, type Service } from './machine.ts'
import type { LabPorts, Launcher } from './ports.ts'

const firstPauseMs = 200
const longestPauseMs = 10_000
/** One that ran this long was well: the next pause is the first again. */
const wellAfterMs = 30_000
const largestLogBytes = 16 * 1024 * 1024

export interface InitSignals {
  /** Resolves at the next SIGHUP. */
  hangup(): Promise<void>
  readonly terminate: AbortSignal
}

/** Runs until `terminate`. */
export async function runInit(ports: LabPorts, launcher: Launcher, log: Logger, signals: InitSignals): Promise<void> {
  const running = new Map<string, { stop: AbortController; done: Promise<void> }>()
  const ended = new Promise<void>((resolve) => signals.terminate.addEventListener('abort', () => resolve()))
  while (!signals.terminate.aborted) {
    const next = signals.hangup()
    const services = await readServices(ports)
    for (const [name, service] of running) {
      if (!services.some((wanted) => wanted.name === name)) service.stop.abort(new Error('removed'))
    }
    for (const service of services) {
      if (running.has(service.name)) continue
      const stop = new AbortController()
      const done = supervise(ports, launcher, log, service, stop.signal).finally(() => running.delete(service.name))
      running.set(service.name, { stop, done })
    }
    await Promise.race([next, ended])
  }
  for (const service of running.values()) service.stop.abort(new Error('init ends'))
  await Promise.all([...running.values()].map((service) => service.done))
}

async function readServices(ports: LabPorts): Promise<Service[]> {
  try {
    return JSON.parse(await ports.files.readText(`${initFolder}/services.json`)) as Service[]
  } catch (thrown) {
    if (fileErrorCode(thrown) === 'ENOENT') return []
    throw thrown
  }
}

async function supervise(
  ports: LabPorts,
  launcher: Launcher,
  log: Logger,
  service: Service,
  signal: AbortSignal,
): Promise<void> {
  let pauseMs = firstPauseMs
  const logFile = `${initFolder}/${service.name}.log`
  while (!signal.aborted) {
    await rotate(ports, logFile)
    const since = ports.clock.monotonic()
    log.info({ service: service.name }, 'service starts')
    try {
      const { code } = await ports.processes.run(
        'sh',
        ['-c', 'exec "$@" >>"$0" 2>&1', logFile, ...programOf(launcher, service), ...service.args],
        { signal },
      )
      log.warn({ service: service.name, code }, 'service ended')
    } catch (thrown) {
      log.warn({ service: service.name, err: describeError(thrown) }, 'service stopped')
    }
    if (ports.clock.monotonic() - since > wellAfterMs) pauseMs = firstPauseMs
    await ports.clock.sleep(pauseMs, signal).catch(() => undefined)
    pauseMs = Math.min(2 * pauseMs, longestPauseMs)
  }
}

function programOf(launcher: Launcher, { program }: Service): string[] {
  return program === undefined ? [launcher.node, launcher.main] : [program]
}

async function rotate(ports: LabPorts, logFile: string): Promise<void> {
  const stat = await ports.files.stat(logFile)
  if (stat !== undefined && stat.sizeBytes > largestLogBytes) await ports.files.rename(logFile, `${logFile}.1`)
}
