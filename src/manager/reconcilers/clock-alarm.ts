/**
 * Says it once when the clock of a protected guest has fallen behind by more than its setting allows, and once when it is right
 * again. Whether it is so is the pump's to judge; what was said last is in the VM's record, so that no manager says it again.
 */
import type { VmId } from '../../base/ids.ts'
import { isOfPair, type GuestClock, type ProtectionObservation } from '../../contracts/protection.ts'
import { commitChanges } from '../sagas/vm-records.ts'
import type { RunRecordStored, VmRecord } from '../store/records.ts'
import type { NewEvent } from '../store/store.ts'
import type { Reconciler, ReconcilerDeps } from './deps.ts'

export interface ClockNews {
  readonly vm: VmId
  readonly clock: GuestClock
}

/** VMs of whose clock something is to be said. `seen`: by the word of the host that runs it. Pure. */
export function planClockNews(
  vms: readonly VmRecord[],
  runs: readonly RunRecordStored[],
  seen: (run: RunRecordStored) => ProtectionObservation | null,
): ClockNews[] {
  const runOf = new Map(runs.map((stored) => [stored.id, stored]))
  return vms.flatMap(({ id, protection }) => {
    const run = runOf.get(id)
    if (protection === undefined || run?.run.protection?.phase !== 'protected') return []
    const word = seen(run)
    if (word?.side !== 'primary' || !isOfPair(word, run.run.protection)) return []
    const { clock } = word
    if (clock == null || clock.isBeyondLimit === (protection.isClockBehind ?? false)) return []
    return [{ vm: id, clock }]
  })
}

export class ClockAlarm implements Reconciler {
  readonly name = 'clock-alarm'
  readonly everyMs = 1000
  readonly #deps: ReconcilerDeps

  constructor(deps: ReconcilerDeps) {
    this.#deps = deps
  }

  async look(): Promise<void> {
    const { inventory } = this.#deps
    const news = planClockNews(inventory.list('vm'), inventory.list('run'), (run) => this.#seen(run))
    for (const one of news) await say(this.#deps, one)
  }

  #seen({ id, run }: RunRecordStored): ProtectionObservation | null {
    const report = run.host === null ? undefined : this.#deps.hosts.report(run.host)
    return report?.vms.find(({ vm }) => vm === id)?.protection ?? null
  }
}

async function say(deps: ReconcilerDeps, { vm, clock }: ClockNews): Promise<void> {
  const isClockBehind = clock.isBeyondLimit
  await commitChanges(deps, async () => {
    const stored = await deps.store.get('vm', vm)
    const protection = stored?.value.protection
    if (stored === undefined || protection === undefined) return undefined
    if ((protection.isClockBehind ?? false) === isClockBehind) return undefined
    const { id, name } = stored.value
    const value: VmRecord = { ...stored.value, protection: { ...protection, isClockBehind } }
    const { lagMs, isMeasured } = clock
    const event: NewEvent = {
      ...{ type: isClockBehind ? 'vm.clock-behind' : 'vm.clock-right', subject: { kind: 'vm', id, name }, task: null },
      ...{ message: sentence(name, clock), data: { lagMs, isMeasured } },
    }
    return { changes: [{ do: 'update', kind: 'vm', value, expected: stored.revision }], events: [event] }
  })
}

function sentence(name: string, { lagMs, isMeasured, isBeyondLimit }: GuestClock): string {
  if (!isBeyondLimit) return `the clock of ${name} is right again`
  const seconds = `${(lagMs / 1000).toFixed(1)} s`
  if (isMeasured) return `the clock of ${name} is ${seconds} behind, although an agent in it answers`
  return `the clock of ${name} has lost ${seconds} to its protection: chrony or the QEMU guest agent in it would set it right`
}
