import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { HoldfastError } from '../errors.ts'
import type { DetachedOptions, ProcessId, Processes, RunOptions, RunResult } from '../processes.ts'
import { nodeClock } from './clock.ts'
import { libc } from './libc.ts'

const defaultMaxOutputBytes = 4 * 1024 * 1024
const killAfterMs = 2000

/** The real processes of this machine. */
export function nodeProcesses(): Processes {
  const clock = nodeClock()
  return {
    run,
    startDetached,
    identify: async (pid) => identify(pid),
    isAlive: async (id) => isAlive(id),
    signal: async (id, signal) => signalExactly(id, signal),
    async waitGone(id, signal) {
      // A process that is not our child sends us no word of its end, and a pidfd cannot be polled from Node.
      for (let pauseMs = 1; isAlive(id); pauseMs = Math.min(pauseMs * 2, 25)) await clock.sleep(pauseMs, signal)
    },
  }
}

/** The last `limit` bytes of a stream. */
class Tail {
  readonly #limit: number
  #chunks: Buffer[] = []
  #bytes = 0

  constructor(limit: number) {
    this.#limit = limit
  }

  push(chunk: Buffer): void {
    this.#chunks.push(chunk)
    this.#bytes += chunk.length
    for (
      let first = this.#chunks[0];
      first !== undefined && this.#bytes - first.length >= this.#limit;
      first = this.#chunks[0]
    ) {
      this.#chunks.shift()
      this.#bytes -= first.length
    }
  }

  text(): string {
    const all = Buffer.concat(this.#chunks)
    return all.subarray(Math.max(0, all.length - this.#limit)).toString('utf8')
  }
}

async function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  options.signal?.throwIfAborted()
  const child = spawn(command, args, {
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { ...process.env, ...options.env },
    stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    // A group of its own, so that an abort ends the programs it started too: they hold its pipes open.
    detached: true,
  })
  const limit = options.maxOutputBytes ?? defaultMaxOutputBytes
  const stdout = keep(child.stdout, limit, options.onStdout)
  const stderr = keep(child.stderr, limit, options.onStderr)
  // A child that does not read its input closes the pipe; its exit code says what that means.
  child.stdin?.on('error', () => undefined)
  if (options.input !== undefined) child.stdin?.end(options.input)
  const cancel = killOnAbort(child, options.signal)
  const code = await ended(child, command).finally(() => cancel[Symbol.dispose]())
  options.signal?.throwIfAborted()
  return { code, stdout: stdout.text(), stderr: stderr.text() }
}

function keep(stream: NodeJS.ReadableStream | null, limit: number, onText: ((text: string) => void) | undefined): Tail {
  const tail = new Tail(limit)
  const decoder = new TextDecoder()
  stream?.on('data', (chunk: Buffer) => {
    tail.push(chunk)
    onText?.(decoder.decode(chunk, { stream: true }))
  })
  return tail
}

function killOnAbort(child: ChildProcess, signal: AbortSignal | undefined): Disposable {
  let timer: NodeJS.Timeout | undefined
  const onAbort = (): void => {
    killGroup(child, 'SIGTERM')
    timer = setTimeout(() => killGroup(child, 'SIGKILL'), killAfterMs)
  }
  signal?.addEventListener('abort', onAbort, { once: true })
  return {
    [Symbol.dispose]: () => {
      signal?.removeEventListener('abort', onAbort)
      clearTimeout(timer)
    },
  }
}

/** Before the child is reaped its number cannot be another group's. */
function killGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  try {
    process.kill(-child.pid, signal)
  } catch {
    child.kill(signal)
  }
}

function ended(child: ChildProcess, command: string): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once('error', (cause) => reject(cannotStart(command, cause)))
    child.once('close', (code, signal) => resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])))
  })
}

function cannotStart(command: string, cause?: unknown): HoldfastError {
  return new HoldfastError(
    'host-error',
    `${command} cannot be started`,
    { command, mend: `Install ${command}, or run \`holdfast doctor\`.` },
    { cause },
  )
}

async function startDetached(command: string, args: readonly string[], options: DetachedOptions): Promise<ProcessId> {
  const log = openSync(options.logFile, 'a', 0o640)
  try {
    const child = spawn(command, args, {
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      env: { ...process.env, ...options.env },
      detached: true,
      stdio: ['ignore', log, log, ...(options.inheritFds ?? [])],
    })
    if (child.pid === undefined) {
      throw await new Promise<HoldfastError>((resolve) =>
        child.once('error', (cause) => resolve(cannotStart(command, cause))),
      )
    }
    child.on('error', () => undefined)
    // Before the event loop turns nobody can have reaped it, so its entry in /proc is certain to be there.
    const stat = readStat(child.pid)
    child.unref()
    if (stat === undefined) throw cannotStart(command)
    return { pid: child.pid, startTicks: stat.startTicks }
  } finally {
    closeSync(log)
  }
}

interface Stat {
  readonly state: string
  readonly startTicks: number
}

function readStat(pid: number): Stat | undefined {
  let text: string
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'utf8')
  } catch {
    return undefined
  }
  // The second field is the name in parentheses and may hold anything, so count from its end.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return { state: fields[0] ?? '', startTicks: Number(fields[19]) }
}

/** A zombie is gone once its other threads are: a thread stuck in the kernel may still write to a disk. */
function isGone(pid: number, stat: Stat): boolean {
  if (stat.state !== 'Z' && stat.state !== 'X') return false
  try {
    return readdirSync(`/proc/${pid}/task`).length <= 1
  } catch {
    return true
  }
}

function identify(pid: number): ProcessId | undefined {
  const stat = readStat(pid)
  return stat === undefined || isGone(pid, stat) ? undefined : { pid, startTicks: stat.startTicks }
}

function isAlive(id: ProcessId): boolean {
  return identify(id.pid)?.startTicks === id.startTicks
}

/** The pidfd pins the process between the look at its start time and the signal. */
function signalExactly(id: ProcessId, signal: NodeJS.Signals): boolean {
  const pidfd = libc().pidfdOpen(id.pid)
  if (pidfd < 0) return false
  try {
    return isAlive(id) && libc().pidfdSendSignal(pidfd, constants.signals[signal]) === 0
  } finally {
    closeSync(pidfd)
  }
}
