/** Tries the fence devices of a host that is empty and in maintenance: every level switches it off and on again. */
import { HoldfastError, toHoldfastError } from '../../base/errors.ts'
import type { HostId } from '../../base/ids.ts'
import { holdsVms } from '../domain/fence-plan.ts'
import type { HostRecord, Records } from '../store/records.ts'
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

/** Throws `wrong-state` unless the host is in maintenance, empty, and has a device. */
export function fenceCycleOperation(
  { value }: Stored<HostRecord>,
  runs: readonly Records['run'][],
): Operation<FenceCycleParams> {
  mustBeEmptied(value, runs)
  levelCount(value)
  return {
    saga: fenceCycleSaga,
    params: { host: value.id },
    target: { kind: 'host', id: value.id, name: value.name },
  }
}

function mustBeEmptied({ id, name, maintenance, renewal }: HostRecord, runs: readonly Records['run'][]): void {
  if (renewal) {
    throw new HoldfastError(
      'wrong-state',
      `${name} is being renewed (${renewal.task}): it would be switched off under that`,
      {
        mend: 'Try again when that has ended.',
      },
    )
  }
  if (maintenance === 'on' && !holdsVms(id, runs)) return
  const why = maintenance === 'on' ? 'still has VMs by its records' : 'is not in maintenance'
  throw new HoldfastError('wrong-state', `${name} ${why}: it would be switched off under its VMs`, {
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
  const count = levelCount(await needHost(deps, params.host))
  for (let level = 0; level < count; level++) {
    // Each level takes its time, and nobody waits for it before he takes the host into use again.
    const context = await contextOf(deps, params.host, signal)
    const runs = (await deps.store.list('run')).items.map(({ value }) => value)
    mustBeEmptied(context.host, runs)
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
