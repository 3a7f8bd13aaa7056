/** Runs every reconciler at its own pace, one look after the other, until disposed. A look that fails is tried again. */
import { ClockAlarm } from './clock-alarm.ts'
import { ConfirmedOff } from './confirmed-off.ts'
import { DecidingKeeper } from './deciding.ts'
import type { Reconciler, ReconcilerDeps } from './deps.ts'
import { LeaseLoss } from './lease-loss.ts'
import { GuestMonitor } from './guest-monitor.ts'
import { HistoryRetention } from './history-retention.ts'
import { Nudges } from './nudges.ts'
import { ProtectionKeeper } from './protection.ts'
import { RunRecordWatch } from './run-record-watch.ts'
import { StaleCopies } from './stale-copies.ts'
import { VmPower } from './vm-power.ts'

export class Reconcilers implements AsyncDisposable {
  readonly #deps: ReconcilerDeps
  readonly #closing = new AbortController()
  readonly #loops: Promise<void>[]
  readonly #nudges: Nudges

  private constructor(deps: ReconcilerDeps, reconcilers: readonly Reconciler[]) {
    this.#deps = deps
    this.#nudges = deps.nudges ?? new Nudges()
    this.#loops = reconcilers.map((each) => this.#run(each))
  }

  /** Starts them all, and `more` that need what others do not. Only the manager that holds the lead does. */
  static start(deps: ReconcilerDeps, more: readonly Reconciler[] = []): Reconcilers {
    const all = [
      new VmPower(deps),
      new ConfirmedOff(deps),
      new LeaseLoss(deps),
      new ProtectionKeeper(deps),
      new DecidingKeeper(deps),
      new ClockAlarm(deps),
      new GuestMonitor(deps),
      new RunRecordWatch(deps),
      new StaleCopies(deps),
      new HistoryRetention(deps),
      ...more,
    ]
    return new Reconcilers(deps, all)
  }

  async #run(reconciler: Reconciler): Promise<void> {
    const { clock, log } = this.#deps
    const { signal } = this.#closing
    while (!signal.aborted) {
      await this.#nudges.pause(clock, reconciler.name, reconciler.everyMs, signal)
      if (this.#closing.signal.aborted) break
      try {
        await reconciler.look()
      } catch (err) {
        log.warn({ reconciler: reconciler.name, err }, 'a reconciler could not finish its look; it looks again')
      }
    }
    await reconciler[Symbol.asyncDispose]?.()
  }

  /** Resolves when every look that had begun is over. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new Error('the manager is stopping'))
    await Promise.all(this.#loops)
  }
}
