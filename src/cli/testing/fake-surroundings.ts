/** The world of a command, made for tests: a terminal that records, a manager that answers as it is told. */
import { PassThrough } from 'node:stream'
import type { Clock } from '../../base/clock.ts'
import type { Files } from '../../base/files.ts'
import type { Client } from '../../contracts/client.ts'
import type { Event } from '../../contracts/inventory.ts'
import type { RouteName } from '../../contracts/routes.ts'
import { makeSession } from '../connection/session.ts'
import type { Ports } from '../cli.ts'
import { runCommandLine, type Surroundings } from '../program.ts'
import type { Terminal } from '../terminal.ts'
import { memoryFiles } from './memory-files.ts'

export interface Call {
  readonly route: RouteName
  readonly input: { params?: Record<string, string>; query?: Record<string, unknown>; body?: unknown }
  readonly idempotencyKey: string | undefined
}

export type Answer = (call: Call) => unknown

export interface FakeManager {
  /** What each route answers; a route without an answer fails the test. */
  readonly answers: Partial<Record<RouteName, Answer>>
  readonly calls: Call[]
  readonly client: Client
}

/** A manager that answers from a table. */
export function fakeManager(answers: FakeManager['answers'], streams: Partial<Client> = {}): FakeManager {
  const calls: Call[] = []
  const call = async (route: RouteName, input: Call['input'] = {}, options: { idempotencyKey?: string } = {}) => {
    const made = { route, input, idempotencyKey: options.idempotencyKey }
    calls.push(made)
    const answer = answers[route]
    if (answer === undefined) throw new Error(`nobody expected a call of ${route}`)
    return answer(made)
  }
  const none = (what: string) => () => {
    throw new Error(`nobody expected ${what}`)
  }
  const client = {
    call: call as unknown as Client['call'],
    events: none('the event stream') as unknown as () => AsyncIterable<Event>,
    upload: none('an upload') as unknown as Client['upload'],
    openConsole: none('a console') as unknown as Client['openConsole'],
    ...streams,
  }
  return { answers, calls, client }
}

export interface FakeTerminal extends Terminal {
  readonly written: { out: string; err: string }
  /** What is said to questions, in order. */
  readonly said: string[]
  /** The other end of `input`. */
  readonly keys: PassThrough
  interrupt(): void
}

export function fakeTerminal(options: { isTty?: boolean; columns?: number; said?: string[] } = {}): FakeTerminal {
  const { isTty = false, columns = 80, said = [] } = options
  const written = { out: '', err: '' }
  const handlers: (() => void)[] = []
  const keys = new PassThrough()
  return {
    keys,
    written,
    said,
    isOutTty: isTty,
    isErrTty: isTty,
    isInTty: isTty,
    columns: () => columns,
    out: (data) => void (written.out += typeof data === 'string' ? data : Buffer.from(data).toString('utf8')),
    err: (text) => void (written.err += text),
    input: keys,
    rawInput: () => ({ [Symbol.dispose]: () => undefined }),
    async ask(question) {
      written.err += question
      return said.shift()
    },
    onInterrupt(handler) {
      handlers.push(handler)
      return { [Symbol.dispose]: () => void handlers.splice(handlers.indexOf(handler), 1) }
    },
    interrupt: () => handlers.at(-1)?.(),
  }
}

/** A clock that never waits: each sleep advances it. Timers fire when the sleeps have passed them. */
export function hastyClock(): Clock {
  let nowMs = Date.parse('2026-01-02T03:04:05Z')
  const timers = new Set<{ atMs: number; callback: () => void }>()
  return {
    now: () => nowMs,
    monotonic: () => nowMs,
    async sleep(ms, signal) {
      signal?.throwIfAborted()
      nowMs += ms
      for (const timer of timers) {
        if (timer.atMs > nowMs) continue
        timers.delete(timer)
        timer.callback()
      }
      await Promise.resolve()
      signal?.throwIfAborted()
    },
    timer(ms, callback) {
      const timer = { atMs: nowMs + ms, callback }
      timers.add(timer)
      return { [Symbol.dispose]: () => void timers.delete(timer) }
    },
  }
}

export interface FakeWorld {
  readonly terminal: FakeTerminal
  readonly manager: FakeManager
  readonly files: Files
  /** Runs a command line as the shell would, and gives its exit code. */
  run(...argv: string[]): Promise<number>
}

export function fakeWorld(
  manager: FakeManager,
  options: { terminal?: FakeTerminal; files?: Files; clock?: Clock } = {},
): FakeWorld {
  const terminal = options.terminal ?? fakeTerminal()
  const files = options.files ?? memoryFiles()
  let drawn = 0
  const ports = {
    clock: options.clock ?? hastyClock(),
    files,
    random: { uuid: () => `key-${(drawn += 1)}`, bytes: (count: number) => new Uint8Array(count), int: () => 0 },
    network: {} as Ports['network'],
  }
  const surroundings: Surroundings = {
    terminal,
    env: { HOME: '/home/ada' },
    version: '0.0.0-test',
    cwd: '/home/ada',
    ports: async () => ports,
    openSession: async () =>
      makeSession(manager.client, { url: 'https://manager:7443', token: 't', ca: undefined, source: 'test' }, ports),
  }
  return { terminal, manager, files, run: (...argv) => runCommandLine(surroundings, argv) }
}
