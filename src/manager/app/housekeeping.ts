/** What a manager does by itself that is no operation: telling of hosts that come and go, forgetting what is over. */
import type { Kind, Records } from '../store/records.ts'
import type { Change } from '../store/store.ts'
import { sweepAlarms } from './alarm-sweep.ts'
import type { AppContext } from './context.ts'
import type { HostReports } from './host-reports.ts'
import type { Managers } from './managers.ts'

const tickMs = 1000
const sweepEveryMs = 10 * 60_000
/** Ended tasks beyond this many are forgotten, oldest first. */
const keptTasks = 5000
const changesPerCommit = 50
/** 30 days after it was begun an upload is forgotten. */
const keptUploadsMs = 30 * 24 * 3_600_000

export class Housekeeping implements AsyncDisposable {
  readonly #context: AppContext
  readonly #reports: HostReports
  readonly #managers: Managers
  readonly #closing = new AbortController()
  #running: Promise<void> = Promise.resolve()

  constructor(context: AppContext, reports: HostReports, managers: Managers) {
    this.#context = context
    this.#reports = reports
    this.#managers = managers
  }

  start(): void {
    this.#running = this.#run()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort()
    await this.#running
  }

  async #run(): Promise<void> {
    const { clock, logger } = this.#context
    const { signal } = this.#closing
    let sweepAt = clock.monotonic() + sweepEveryMs
    while (!signal.aborted) {
      try {
        await this.#reports.tellChanges()
        await this.#managers.look()
        if (clock.monotonic() >= sweepAt) {
          sweepAt = clock.monotonic() + sweepEveryMs
          await this.sweep()
        }
      } catch (thrown) {
        logger.warn({ err: thrown }, 'housekeeping failed; it is tried again')
      }
      await clock.sleep(tickMs, signal).catch(() => undefined)
    }
  }

  /** Forgets secrets and kept answers whose time is over, and old tasks. */
  async sweep(): Promise<void> {
    const { clock, mirror } = this.#context
    const now = clock.now()
    const isOver = (record: { readonly expires: string }): boolean => Date.parse(record.expires) < now
    await this.#remove('secret', isOver)
    await this.#remove('idempotency', isOver)
    // Their files are removed by the hosts, a week after somebody has last gone on with them.
    await this.#remove('upload', ({ created }) => now - Date.parse(created) > keptUploadsMs)
    const ended = mirror.list('task').filter((task) => task.ended !== null)
    const old = new Set(ended.slice(0, Math.max(0, ended.length - keptTasks)).map((task) => task.id))
    if (old.size > 0) await this.#remove('task', (task) => old.has(task.id))
    await sweepAlarms(this.#context)
  }

  async #remove<K extends 'secret' | 'idempotency' | 'task' | 'upload'>(
    kind: K & Kind,
    isDue: (record: Records[K]) => boolean,
  ): Promise<void> {
    const { store } = this.#context
    const due = (await store.list(kind)).items.filter(({ value }) => isDue(value))
    for (let at = 0; at < due.length; at += changesPerCommit) {
      const changes = due
        .slice(at, at + changesPerCommit)
        .map(({ value, revision }): Change => ({ do: 'remove', kind, id: value.id, expected: revision }))
      await store.commit({ changes, events: [] })
    }
  }
}
