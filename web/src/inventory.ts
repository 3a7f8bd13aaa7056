/**
 * What the page shows, kept up to date: events say at once that something has changed; what hosts merely observe (load,
 * use) is asked for now and then, and tasks often while one runs.
 */
import type { Alarm } from '../../src/contracts/alarms.ts'
import type { ClusterInfo, Host, Task, Vm } from '../../src/contracts/inventory.ts'
import { api, ApiError } from './api.ts'

export interface Inventory {
  readonly cluster: ClusterInfo
  /** The open ones, newest first. */
  readonly alarms: readonly Alarm[]
  readonly hosts: readonly Host[]
  readonly vms: readonly Vm[]
  readonly tasks: readonly Task[]
}

const afterEventMs = 80
const observedEveryMs = 4_000
const whileTasksRunMs = 600

export class InventoryFeed {
  readonly #onChange: (inventory: Inventory) => void
  readonly #onLive: (isLive: boolean) => void
  readonly #onSignedOut: () => void
  #events: EventSource | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  #dueAt = Number.POSITIVE_INFINITY
  #isReading = false

  constructor(on: { change: (inventory: Inventory) => void; live: (isLive: boolean) => void; signedOut: () => void }) {
    this.#onChange = on.change
    this.#onLive = on.live
    this.#onSignedOut = on.signedOut
  }

  async start(): Promise<void> {
    const { revision } = await this.#read()
    document.addEventListener('visibilitychange', () => this.refresh())
    const events = new EventSource(`/v1/events/stream?after=${revision}`)
    events.addEventListener('open', () => this.#onLive(true))
    events.addEventListener('error', () => this.#onLive(false))
    events.addEventListener('message', () => this.refresh())
    events.addEventListener('relist', () => this.refresh())
    this.#events = events
  }

  stop(): void {
    this.#events?.close()
    clearTimeout(this.#timer)
    this.#dueAt = Number.POSITIVE_INFINITY
  }

  /** Something has changed: read soon. Several changes at once are read together. */
  refresh(): void {
    this.#readIn(afterEventMs)
  }

  #readIn(ms: number): void {
    const at = performance.now() + ms
    if (at >= this.#dueAt) return
    this.#dueAt = at
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => void this.#readAgain(), ms)
  }

  async #readAgain(): Promise<void> {
    this.#dueAt = Number.POSITIVE_INFINITY
    if (this.#isReading) return this.#readIn(afterEventMs)
    if (document.hidden) return this.#readIn(observedEveryMs)
    this.#isReading = true
    try {
      await this.#read()
    } catch (thrown) {
      if (thrown instanceof ApiError && thrown.status === 401) return this.#onSignedOut()
      this.#onLive(false)
      this.#readIn(observedEveryMs)
    } finally {
      this.#isReading = false
    }
  }

  async #read(): Promise<{ revision: number }> {
    const [cluster, alarms, hosts, vms, tasks] = await Promise.all([
      api.cluster(),
      api.alarms(),
      api.hosts(),
      api.vms(),
      api.tasks(),
    ])
    this.#onChange({ cluster, alarms: alarms.items, hosts: hosts.items, vms: vms.items, tasks: tasks.items })
    const isBusy = tasks.items.some((task) => task.ended === null)
    this.#readIn(isBusy ? whileTasksRunMs : observedEveryMs)
    return { revision: Math.min(alarms.revision, hosts.revision, vms.revision, tasks.revision) }
  }
}
