/**
 * Where a host's report and the run records disagree, the host's agent is told the record as it is, and brings the two
 * together by its own rules: it says `stopped` for a guest that is gone, `adopted` for one that a restored store knows
 * nothing of, and ends a copy that must not run. Nothing is concluded from a report alone.
 *
 * A record that is `unknown` after a restore becomes `stopped` when every host has been asked and none has the VM, hosts
 * that are confirmed off aside.
 */
import type { HostId, VmId } from '../../base/ids.ts'
import type { HostReport } from '../../contracts/host.ts'
import type { Host } from '../../contracts/inventory.ts'
import { mayRun, type RunRecord } from '../../contracts/run-record.ts'
import { transitionRun } from '../sagas/run-records.ts'
import type { RunRecordStored } from '../store/records.ts'
import type { Reconciler, ReconcilerDeps } from './deps.ts'
import { RepeatLimit } from './repeat-limit.ts'

export interface Disagreement {
  readonly host: HostId
  readonly run: RunRecord
}

/** Which hosts are to be told which records. Pure. */
export function planTelling(runs: readonly RunRecordStored[], reports: readonly HostReport[]): Disagreement[] {
  const found: Disagreement[] = []
  for (const report of reports) {
    const seen = new Map(report.vms.map((vm) => [vm.vm, vm]))
    for (const { id, run } of runs) {
      const process = seen.get(id)?.process ?? 'none'
      const isHere = process !== 'none'
      const expected = run.phase === 'running' && run.host === report.host
      // The host that the record names as the second has the VM waiting; by the pair's arbiter it may even run already.
      const allowed = mayRun(run, report.host) || run.protection?.second === report.host
      // During a start the report may be older than the record: its agent answers that at once.
      if ((expected && !isHere) || (isHere && !allowed && process !== 'prelaunch'))
        found.push({ host: report.host, run })
    }
  }
  return found
}

/** Records that nobody vouches for, while every host answers or is confirmed off: the hosts to ask for proof. Pure. */
export function planAbsence(
  runs: readonly RunRecordStored[],
  hosts: readonly { readonly id: HostId; readonly state: Host['state'] }[],
): { vm: VmId; generation: number; ask: HostId[] }[] {
  if (hosts.some(({ state }) => state === 'unreachable' || state === 'never-seen')) return []
  const ask = hosts.filter(({ state }) => state === 'connected').map(({ id }) => id)
  return runs.flatMap(({ id, run }) => (run.phase === 'unknown' ? [{ vm: id, generation: run.generation, ask }] : []))
}

export class RunRecordWatch implements Reconciler {
  readonly name = 'run-record-watch'
  readonly everyMs = 2000
  readonly #deps: ReconcilerDeps
  /** The same thing is not said to the same host more often than every 10 s. */
  readonly #telling: RepeatLimit<string>

  constructor(deps: ReconcilerDeps) {
    this.#deps = deps
    this.#telling = new RepeatLimit(deps.clock, 10_000)
  }

  async look(): Promise<void> {
    const { inventory, hosts } = this.#deps
    const states = inventory.list('host').map((host) => ({ id: host.id, state: hosts.stateOf(host) }))
    const connected = states.filter(({ state }) => state === 'connected')
    const reports = connected.flatMap(({ id }) => hosts.report(id) ?? [])
    const runs = inventory.list('run')
    await Promise.all(planTelling(runs, reports).map((each) => this.#tell(each)))
    for (const { vm, generation, ask } of planAbsence(runs, states)) await this.#proveAbsent(vm, generation, ask)
  }

  async #tell({ host, run }: Disagreement): Promise<void> {
    if (!this.#telling.take(`${host}/${run.vm}/${run.generation}`)) return
    // The mirror may lag behind: what is told is the record as it is now.
    const stored = await this.#deps.store.get('run', run.vm)
    if (stored?.value.run.generation !== run.generation) return
    await this.#deps.hosts.agent(host).tellRecord(stored.value.run)
    this.#deps.log.info(
      { vm: run.vm, host, phase: run.phase },
      'a host was told of a record that its report disagrees with',
    )
  }

  async #proveAbsent(vm: VmId, generation: number, ask: readonly HostId[]): Promise<void> {
    const seen = await Promise.all(ask.map((host) => this.#deps.hosts.agent(host).observe(vm)))
    if (seen.some(({ process }) => process !== 'none')) return
    await transitionRun(this.#deps, vm, { event: 'absent' }, { generation })
  }
}
