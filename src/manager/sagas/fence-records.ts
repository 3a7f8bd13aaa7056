/** What is written down of a host's fence devices: whether they work, and what people were told. */
import { isoTime } from '../../base/clock.ts'
import type { HostId, TaskId } from '../../base/ids.ts'
import type { HostFenceRecord, HostRecord } from '../store/records.ts'
import type { NewEvent } from '../store/store.ts'
import type { SagaDeps } from './deps.ts'
import { commitChanges } from './vm-records.ts'

type Deps = Pick<SagaDeps, 'store' | 'clock'>

export function hostEvent(
  type: string,
  host: Pick<HostRecord, 'id' | 'name'>,
  message: string,
  task: TaskId | null = null,
  data: Record<string, unknown> = {},
): NewEvent {
  return { type, subject: { kind: 'host', id: host.id, name: host.name }, message, task, data }
}

async function changeFence(
  deps: Deps,
  host: HostId,
  change: (fence: HostFenceRecord, record: HostRecord) => { fence: HostFenceRecord; events: readonly NewEvent[] },
): Promise<void> {
  await commitChanges(deps, async () => {
    const stored = await deps.store.get('host', host)
    const before = stored?.value.fence
    if (stored === undefined || before == null) return undefined
    const { fence, events } = change(before, stored.value)
    if (fence === before) return undefined
    const value: HostRecord = { ...stored.value, fence }
    return { changes: [{ do: 'update', kind: 'host', value, expected: stored.revision }], events }
  })
}

/**
 * The outcome of a test; people are told when it is another than before. One that `proved` it has really switched the host off
 * and on: what was said of lies is over.
 */
export async function recordTest(
  deps: Deps,
  host: HostId,
  problem: string | null,
  proved: 'proved' | 'asked' = 'asked',
): Promise<void> {
  await changeFence(deps, host, (fence, record) => {
    const before = fence.test?.problem ?? null
    const isNews = problem === null ? before !== null : before === null || !isSameReason(before, problem)
    const events = isNews ? [testEvent(record, problem)] : []
    const lied = proved === 'proved' ? null : (fence.lied ?? null)
    return { fence: { ...fence, lied, test: { problem, testedAt: isoTime(deps.clock.now()) } }, events }
  })
}

function testEvent(host: HostRecord, problem: string | null): NewEvent {
  if (problem === null) return hostEvent('host.fence-ok', host, `the fence devices of ${host.name} answer again`)
  const words = `if ${host.name} were lost now, it could not be fenced: ${problem} (docs/runbooks/fence-failing.md)`
  return hostEvent('host.fence-test-failed', host, words, null, { problem })
}

/** Tells people of a fencing that does not succeed, whenever the reason changes. */
export async function tellFenceFailed(deps: Deps, host: HostId, task: TaskId, problem: string): Promise<void> {
  await changeFence(deps, host, (fence, record) => {
    const { told } = fence
    if (told?.task === task && isSameReason(told.problem, problem)) return { fence, events: [] }
    const words = `${record.name} is lost and cannot be fenced: ${problem}. None of its VMs is started elsewhere; it is tried again (docs/runbooks/fence-failing.md)`
    const event = hostEvent('host.fence-failed', record, words, task, { problem })
    return { fence: { ...fence, told: { task, problem } }, events: [event] }
  })
}

/** The devices said that the host was off, and it goes on reporting. */
export async function recordLie(deps: Deps, host: HostId, task: TaskId, words: string): Promise<void> {
  await changeFence(deps, host, (fence, record) => {
    if (fence.lied?.task === task) return { fence, events: [] }
    const lied = { at: isoTime(deps.clock.now()), task }
    return { fence: { ...fence, lied }, events: [hostEvent('host.fence-lied', record, words, task)] }
  })
}

/** Agents print times and process numbers, which make no other reason. */
function isSameReason(a: string, b: string): boolean {
  const bare = (text: string): string => text.replaceAll(/[0-9]+/g, '#')
  return bare(a) === bare(b)
}
