/**
 * VM monitoring: resets guests that hang or have panicked, as often as each VM's policy allows, and says it once when that is
 * used up. What was done is in the VM's record, so that no manager does or says it again.
 */
import { describeError, toHoldfastError } from '../../base/errors.ts'
import type { VmId } from '../../base/ids.ts'
import { defaultMonitoring } from '../../contracts/monitoring.ts'
import { decideReset, judgeGuest, noHistory, type GuestSight, type ResetDecision } from '../domain/monitoring.ts'
import { commitChanges } from '../sagas/vm-records.ts'
import { resetHungOperation } from '../sagas/vm-reset-hung.ts'
import type { RunRecordStored, VmRecord } from '../store/records.ts'
import type { NewEvent } from '../store/store.ts'
import type { Reconciler, ReconcilerDeps } from './deps.ts'

type Act = Exclude<ResetDecision, { do: 'nothing' }>

/** What is to be done, by VM. Pure. */
export function planGuestResets(
  vms: readonly VmRecord[],
  runs: readonly RunRecordStored[],
  sight: (run: RunRecordStored) => Pick<GuestSight, 'host' | 'observation'>,
  now: number,
): { readonly vm: VmId; readonly act: Act }[] {
  const monitored = vms.filter(({ policies }) => (policies.monitoring?.reset ?? 'off') !== 'off')
  if (monitored.length === 0) return []
  const runOf = new Map(runs.map((stored) => [stored.id, stored]))
  return monitored.flatMap((vm) => {
    const stored = runOf.get(vm.id)
    if (stored === undefined) return []
    const policy = { ...defaultMonitoring, ...vm.policies.monitoring }
    const judgement = judgeGuest(policy, { run: stored.run, isHeld: vm.operation !== null, ...sight(stored) })
    const act = decideReset(policy, judgement, vm.monitoring ?? noHistory, now)
    return act.do === 'nothing' ? [] : [{ vm: vm.id, act }]
  })
}

export class GuestMonitor implements Reconciler {
  readonly name = 'guest-monitor'
  readonly everyMs = 1000
  readonly #deps: ReconcilerDeps

  constructor(deps: ReconcilerDeps) {
    this.#deps = deps
  }

  async look(): Promise<void> {
    const { hosts, inventory, clock } = this.#deps
    const states = new Map(inventory.list('host').map((host) => [host.id, hosts.stateOf(host)]))
    const sight = ({ id, run }: RunRecordStored): Pick<GuestSight, 'host' | 'observation'> => ({
      host: (run.host === null ? undefined : states.get(run.host)) ?? null,
      observation: hosts.observation(run.host, id),
    })
    const plan = planGuestResets(inventory.list('vm'), inventory.list('run'), sight, clock.now())
    for (const { vm, act } of plan) await (act.do === 'reset' ? this.#reset(vm, act) : giveUp(this.#deps, vm, act))
  }

  async #reset(vm: VmId, act: Act): Promise<void> {
    try {
      await this.#deps.begin('reconciler/guest-monitor', () => resetHungOperation(this.#deps, vm, act))
    } catch (thrown) {
      // Another operation was faster, or it is no more: the next look sees it.
      const { code } = toHoldfastError(thrown)
      if (code !== 'operation-in-progress' && code !== 'wrong-state' && code !== 'not-found') throw thrown
      this.#deps.log.debug({ vm, reason: describeError(thrown) }, 'a reset was not begun')
    }
  }
}

async function giveUp(deps: ReconcilerDeps, vm: VmId, { why, boot, detail }: Act): Promise<void> {
  await commitChanges(deps, async () => {
    const stored = await deps.store.get('vm', vm)
    if (stored === undefined) return undefined
    const { id, name, monitoring = noHistory } = stored.value
    if (monitoring.gaveUpAt === boot) return undefined
    const value: VmRecord = { ...stored.value, monitoring: { ...monitoring, gaveUpAt: boot } }
    const { maxResets, windowMs } = { ...defaultMonitoring, ...stored.value.policies.monitoring }
    const word = why === 'hang' ? 'hangs' : 'has panicked'
    const often = `${maxResets} resets in ${Math.round(windowMs / 60_000)} min`
    const event: NewEvent = {
      ...{ type: 'vm.monitoring-gave-up', subject: { kind: 'vm', id, name }, task: null },
      message: `the guest of ${name} ${word} again after ${often}: it is left as it is (${detail})`,
      data: { why, boot },
    }
    return { changes: [{ do: 'update', kind: 'vm', value, expected: stored.revision }], events: [event] }
  })
}
