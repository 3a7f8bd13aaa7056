/** Asks every fence device of a host for its status, which changes nothing: a wrong password is found before it is needed. */
import { describeError } from '../../base/errors.ts'
import type { HostId } from '../../base/ids.ts'
import type { FenceTest } from '../../contracts/fence.ts'
import type { FenceDeviceRecord, HostFenceRecord, HostRecord } from '../store/records.ts'
import { isNewer, markOf } from '../domain/fence-plan.ts'
import { fencingSettings, type FenceDeps } from './fence-deps.ts'
import { recordTest } from './fence-records.ts'

/** Longer than from one report to the next. */
const reportMs = 2500

type Deps = Pick<FenceDeps, 'store' | 'clock' | 'fence' | 'hosts'>
type TestedHost = Pick<HostRecord, 'id' | 'name'>

/** Asks these devices; nothing is written down. Never throws for a device. */
export async function askDevices(deps: Deps, host: TestedHost, levels: HostFenceRecord['levels']): Promise<FenceTest> {
  const { agentTimeoutMs } = await fencingSettings(deps)
  const devices = await Promise.all(
    levels.flatMap((level, at) => level.map((device) => askDevice(deps, host, device, at + 1, agentTimeoutMs))),
  )
  return { state: devices.every(({ problem }) => problem === null) ? 'ok' : 'failing', devices }
}

async function askDevice(
  deps: Deps,
  { id, name }: TestedHost,
  device: FenceDeviceRecord,
  level: number,
  timeoutMs: number,
): Promise<FenceTest['devices'][number]> {
  const { agent } = device
  try {
    const power = await deps.fence.status({ host: id, device, timeoutMs })
    const isWrong = power === 'off' && (await isSpeaking(deps, id))
    const problem = isWrong ? `says that it is off while ${name} reports: it is another machine's, or it lies` : null
    return { level, agent, power, problem }
  } catch (thrown) {
    return { level, agent, power: null, problem: describeError(thrown) }
  }
}

/** Whether a report comes from now on; the newest one may be older than the answer of the device. */
async function isSpeaking({ hosts, clock }: Deps, id: HostId): Promise<boolean> {
  const report = hosts.report(id)
  if (report === undefined || hosts.silentMs(id) > reportMs) return false
  await clock.sleep(reportMs)
  return isNewer(markOf(report), hosts.report(id))
}

/** Asks all devices of the host, and writes down what came of it. */
export async function testFence(deps: Deps, host: HostRecord): Promise<FenceTest> {
  const test = await askDevices(deps, host, host.fence?.levels ?? [])
  if (test.devices.length > 0) await recordTest(deps, host.id, problemOf(test))
  return test
}

/** In one line; null when all is well. */
export function problemOf({ devices }: FenceTest): string | null {
  const problems = devices.flatMap(({ level, agent, problem }) =>
    problem === null ? [] : [`level ${level}: ${agent} ${problem}`],
  )
  return problems.length === 0 ? null : problems.join('; ')
}
