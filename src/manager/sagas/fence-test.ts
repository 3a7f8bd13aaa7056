/** Asks every fence device of a host for its status, which changes nothing: a wrong password is found before it is needed. */
import { describeError } from '../../base/errors.ts'
import type { HostId } from '../../base/ids.ts'
import type { FenceTest } from '../../contracts/fence.ts'
import type { HostFenceRecord, HostRecord } from '../store/records.ts'
import { isNewer, markOf } from '../domain/fence-plan.ts'
import { fencingSettings, type FenceDeps, type FenceOrder } from './fence-deps.ts'
import { recordTest } from './fence-records.ts'

/** Longer than from one report to the next. */
const reportMs = 2500

type Deps = Pick<FenceDeps, 'store' | 'clock' | 'fence' | 'hosts'>
type TestedHost = Pick<HostRecord, 'id' | 'name'>

/** Asks these devices; nothing is written down. Never throws for a device. */
export async function askDevices(
  deps: Deps,
  host: TestedHost,
  levels: HostFenceRecord['levels'],
  signal?: AbortSignal,
): Promise<FenceTest> {
  const { agentTimeoutMs: timeoutMs } = await fencingSettings(deps)
  const orders = levels.flatMap((level, at) =>
    level.map((device) => ({ level: at + 1, order: { host: host.id, device, timeoutMs, signal } })),
  )
  const devices = await Promise.all(orders.map(({ level, order }) => askDevice(deps, host, order, level)))
  return { state: devices.every(({ problem }) => problem === null) ? 'ok' : 'failing', devices }
}

async function askDevice(
  deps: Deps,
  { id, name }: TestedHost,
  order: FenceOrder,
  level: number,
): Promise<FenceTest['devices'][number]> {
  const { agent } = order.device
  try {
    const power = await deps.fence.status(order)
    const isWrong = power === 'off' && (await isSpeaking(deps, id, order.signal))
    const problem = isWrong ? `says that it is off while ${name} reports: it is another machine's, or it lies` : null
    return { level, agent, power, problem }
  } catch (thrown) {
    return { level, agent, power: null, problem: describeError(thrown) }
  }
}

/** Whether a report comes from now on; the newest one may be older than the answer of the device. */
async function isSpeaking({ hosts, clock }: Deps, id: HostId, signal?: AbortSignal): Promise<boolean> {
  const report = hosts.report(id)
  if (report === undefined || hosts.silentMs(id) > reportMs) return false
  await clock.sleep(reportMs, signal)
  return isNewer(markOf(report), hosts.report(id))
}

/** Asks all devices of the host, and writes down what came of it, unless it was aborted: that says nothing of the devices. */
export async function testFence(deps: Deps, host: HostRecord, signal?: AbortSignal): Promise<FenceTest> {
  const test = await askDevices(deps, host, host.fence?.levels ?? [], signal)
  if (test.devices.length > 0 && signal?.aborted !== true) await recordTest(deps, host.id, problemOf(test))
  return test
}

/** In one line; null when all is well. */
export function problemOf({ devices }: Pick<FenceTest, 'devices'>): string | null {
  const problems = devices.flatMap(({ level, agent, problem }) =>
    problem === null ? [] : [`level ${level}: ${agent} ${problem}`],
  )
  return problems.length === 0 ? null : problems.join('; ')
}
