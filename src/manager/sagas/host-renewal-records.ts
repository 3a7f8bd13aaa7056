/** What the record of a host says of its renewal, and what its report shows of it. */
import { isoTime } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { HostId, TaskId } from '../../base/ids.ts'
import type { HostFacts } from '../../contracts/host.ts'
import type { HostRecord, HostVersions } from '../store/records.ts'
import type { NewEvent } from '../store/store.ts'
import type { SagaDeps } from './deps.ts'
import { commitChanges } from './vm-records.ts'

type StoreOf = Pick<SagaDeps, 'store'>

/** Changes the host's record if it still exists; undefined from `change`: nothing to do. */
async function changeHost(
  deps: StoreOf,
  host: HostId,
  change: (before: HostRecord) => HostRecord | undefined,
  eventOf?: (after: HostRecord) => NewEvent | undefined,
): Promise<void> {
  await commitChanges(deps, async () => {
    const stored = await deps.store.get('host', host)
    const value = stored === undefined ? undefined : change(stored.value)
    if (stored === undefined || value === undefined) return undefined
    const event = eventOf?.(value)
    const events = event === undefined ? [] : [event]
    return { changes: [{ do: 'update', kind: 'host', value, expected: stored.revision }], events }
  })
}

/** Takes the host out of use for this task. Throws `wrong-state` when somebody else has. */
export async function enterRenewal(deps: StoreOf, host: HostId, task: TaskId): Promise<void> {
  await changeHost(deps, host, (before) => {
    if (before.renewal?.task === task) return undefined
    if (before.maintenance !== 'off') {
      throw new HoldfastError('wrong-state', `${before.name} is in maintenance already (${before.maintenance})`)
    }
    return { ...before, maintenance: 'entering', renewal: { task, phase: 'emptying' } }
  })
}

/** From `renewing` on the host stays in maintenance whatever fails. */
export async function setRenewalPhase(
  deps: StoreOf,
  host: HostId,
  task: TaskId,
  phase: 'emptying' | 'renewing',
): Promise<void> {
  await changeHost(deps, host, (before) =>
    before.renewal?.task !== task || before.renewal.phase === phase
      ? undefined
      : { ...before, renewal: { task, phase } },
  )
}

/** The task ends without success: the host takes VMs again, unless somebody or something may be working on it. */
export async function abandonRenewal(deps: StoreOf, host: HostId, task: TaskId): Promise<void> {
  await changeHost(
    deps,
    host,
    (before) => {
      if (before.renewal?.task !== task) return undefined
      const maintenance = before.renewal.phase === 'renewing' ? before.maintenance : 'off'
      return { ...before, maintenance, renewal: null }
    },
    keptOut(task),
  )
}

function keptOut(task: TaskId) {
  return ({ id, name, maintenance }: HostRecord): NewEvent | undefined =>
    maintenance === 'off'
      ? undefined
      : {
          type: 'host.kept-in-maintenance',
          subject: { kind: 'host', id, name },
          message: `the renewal of ${name} has ended without success; it stays in maintenance, since it may be half done`,
          task,
          data: {},
        }
}

/** The host is renewed, and takes VMs again. */
export async function leaveRenewal(
  deps: Pick<SagaDeps, 'store' | 'clock'>,
  host: HostId,
  task: TaskId,
  { from, to }: { readonly from: HostVersions; readonly to: HostVersions },
): Promise<void> {
  const upgraded = { at: isoTime(deps.clock.now()), from, to }
  await changeHost(
    deps,
    host,
    (before) =>
      before.renewal?.task === task ? { ...before, maintenance: 'off', renewal: null, upgraded } : undefined,
    ({ id, name }) => ({
      type: 'host.upgraded',
      subject: { kind: 'host', id, name },
      message: `${name} is renewed and takes VMs again: ${versionWords(from, to)}`,
      task,
      data: { from, to },
    }),
  )
}

function versionWords(from: HostVersions, to: HostVersions): string {
  const change = (before: string, after: string): string =>
    before === after ? `${after} as before` : `${before} → ${after}`
  return `agent ${change(from.agent, to.agent)}, QEMU ${change(from.qemu, to.qemu)}`
}

export function versionsOf({ agentVersion, qemu }: HostFacts): HostVersions {
  const build = qemu.package ?? ''
  return { agent: agentVersion, qemu: build === '' ? qemu.version : `${qemu.version} (${build})` }
}
