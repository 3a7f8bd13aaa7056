/** How a host is renewed, passed in: by a program of its own administrator's. */
import type { Clock } from '../../base/clock.ts'
import type { TaskId } from '../../base/ids.ts'
import type { UpgradeReport } from '../../contracts/host-upgrade.ts'

export interface HostUpgrade {
  /**
   * Starts the program; for a task that has started it already it answers with how that stands. Throws `refused` where there
   * is no program that may be run, and `wrong-state` while another task's runs.
   */
  start(task: TaskId): Promise<UpgradeReport>
  /** Of the newest run; undefined before the first. */
  report(): Promise<UpgradeReport | undefined>
}

/** A disk that hangs must not hold up the report that says that this host lives. */
const answerWithinMs = 1000

/** How the newest run stands, for a report: as it was known last where the disk does not say in time. Never rejects. */
export function upgradeWords(upgrade: HostUpgrade, clock: Clock): () => Promise<UpgradeReport | undefined> {
  let last: UpgradeReport | undefined
  let asked: Promise<void> | undefined
  return async () => {
    asked ??= upgrade
      .report()
      .then(
        (report) => {
          last = report
        },
        () => undefined,
      )
      .finally(() => {
        asked = undefined
      })
    const answered = new AbortController()
    await Promise.race([asked, clock.sleep(answerWithinMs, answered.signal).catch(() => undefined)])
    answered.abort()
    return last
  }
}
