/** How a host is renewed, passed in: by a program of its own administrator's. */
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
