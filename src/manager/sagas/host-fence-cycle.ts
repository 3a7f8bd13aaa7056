/** Tries the fence devices of a host that is empty and in maintenance: every level switches it off and on again. */
import { HoldfastError, toHoldfastError } from '../../base/errors.ts'
import type { HostId } from '../../base/ids.ts'
import type { HostRecord } from '../store/records.ts'
import type { Stored } from '../store/store.ts'
import { fencingSettings, type FenceDeps } from './fence-deps.ts'
import { levelCount, needStatus, switchLevel, type LevelContext } from './fence-levels.ts'
import { recordTest } from './fence-records.ts'
import type { Operation } from './operation.ts'
import { saga, type StepContext } from './saga.ts'
import { needHost } from './vm-records.ts'

export interface FenceCycleParams {
  readonly host: HostId
}

type Context = StepContext<FenceCycleParams, unknown, FenceDeps>

export const fenceCycleSaga = saga<FenceCycleParams, FenceDeps>('host.fence-cycle/1')
  .step({
    name: 'cycle',
    do: (context) => cycle(context),
    undo: async ({ params, deps }) => {
      const context = await contextOf(deps, params.host)
      // Whatever failed: a host that is left off by a test would be a surprise.
      for (let level = 0; level < levelCount(context.host); level++) {
        await switchLevel(context, level, 'on').catch(() => undefined)
      }
    },
  })
  .result((done) => done.cycle)

/** Throws `wrong-state` unless the host is in maintenance and has a device. */
export function fenceCycleOperation({ value }: Stored<HostRecord>): Operation<FenceCycleParams> {
  mustBeInMaintenance(value)
  levelCount(value)
  return {
    saga: fenceCycleSaga,
    params: { host: value.id },
    target: { kind: 'host', id: value.id, name: value.name },
  }
}

function mustBeInMaintenance({ name, maintenance }: Pick<HostRecord, 'name' | 'maintenance'>): void {
  if (maintenance === 'on') return
  throw new HoldfastError('wrong-state', `${name} is not in maintenance: it would be switched off under its VMs`, {
    mend: `Empty it first: holdfast host maintenance ${name}`,
  })
}

async function contextOf(
  deps: FenceDeps,
  id: HostId,
  signal?: AbortSignal,
): Promise<LevelContext & { host: HostRecord }> {
  const host = await needHost(deps, id)
  return { deps, host, timeoutMs: (await fencingSettings(deps)).agentTimeoutMs, signal }
}

async function cycle({ deps, params, signal, progress }: Context): Promise<{ levels: number }> {
  const context = await contextOf(deps, params.host, signal)
  mustBeInMaintenance(context.host)
  const count = levelCount(context.host)
  for (let level = 0; level < count; level++) {
    try {
      await switchLevel(context, level, 'off')
      await needStatus(context, level, 'off')
      await switchLevel(context, level, 'on')
      await needStatus(context, level, 'on')
    } catch (thrown) {
      const words = `level ${level + 1}: ${toHoldfastError(thrown).message}`
      if (!signal.aborted) await recordTest(deps, params.host, words)
      throw new HoldfastError('host-error', words, { mend: 'See docs/runbooks/fence-failing.md.' }, { cause: thrown })
    }
    progress((level + 1) / count)
  }
  await recordTest(deps, params.host, null, 'proved')
  return { levels: count }
}
