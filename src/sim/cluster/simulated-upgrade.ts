/** The program that renews a simulated host: it lives beside the agent, takes a while, and starts the agent anew. */
import { isoTime, type Clock } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { TaskId } from '../../base/ids.ts'
import type { UpgradeReport } from '../../contracts/host-upgrade.ts'
import type { HostUpgrade } from '../../agent/upgrade/host-upgrade.ts'

export interface UpgradeParts {
  readonly clock: Clock
  readonly note: (text: string) => void
  /** The agent is ended and started, with the newer version. */
  readonly renew: () => Promise<void>
  readonly name: string
}

/** What it does: all of it; nothing but to say that it failed; all of it but the agent's new start; nothing, for ever. Or there is none. */
export type UpgradeHabit = 'renews' | 'fails' | 'is-missing' | 'forgets-the-agent' | 'hangs'

const takesMs = 4000

export class SimulatedUpgrade implements HostUpgrade {
  habit: UpgradeHabit = 'renews'
  /** Tasks that had it run, in order. */
  readonly ran: TaskId[] = []
  readonly #parts: UpgradeParts
  #last: UpgradeReport | undefined

  constructor(parts: UpgradeParts) {
    this.#parts = parts
  }

  async start(task: TaskId): Promise<UpgradeReport> {
    if (this.#last?.task === task) return this.#last
    if (this.habit === 'is-missing') throw new HoldfastError('refused', 'this host has no program that renews it')
    const { clock, note, name } = this.#parts
    note(`${name} is renewed for ${task}`)
    this.ran.push(task)
    const startedAt = isoTime(clock.now())
    this.#last = { task, state: 'running', code: null, startedAt, endedAt: null, lastLines: '' }
    if (this.habit !== 'hangs') void this.#work(this.#last)
    return this.#last
  }

  async report(): Promise<UpgradeReport | undefined> {
    return this.#last
  }

  async #work(begun: UpgradeReport): Promise<void> {
    const { clock, renew } = this.#parts
    await clock.sleep(takesMs)
    if (this.habit === 'renews') await renew()
    const hasFailed = this.habit === 'fails'
    const said = hasFailed ? { code: 3, lastLines: 'E: no such package' } : { code: 0, lastLines: '' }
    this.#last = { ...begun, state: 'ended', endedAt: isoTime(clock.now()), ...said }
  }
}
