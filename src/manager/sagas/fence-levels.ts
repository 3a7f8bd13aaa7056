/**
 * The devices of a host, level by level. A level has done its work when every device of it said that it switched the host
 * off, and every one of them says afterwards that it is off: some say the first without having done it.
 */
import { describeError, HoldfastError, toHoldfastError } from '../../base/errors.ts'
import type { HostRecord } from '../store/records.ts'
import type { FenceDeps, FenceOrder } from './fence-deps.ts'

/** A device may need a moment until it says what it has done. */
const [statusTries, statusPauseMs] = [3, 1000]

export interface LevelContext {
  readonly deps: Pick<FenceDeps, 'fence' | 'clock'>
  readonly host: Pick<HostRecord, 'id' | 'name' | 'fence'>
  readonly timeoutMs: number
  readonly signal?: AbortSignal | undefined
}

/** How many levels there are. Throws `wrong-state` where there are none. */
export function levelCount(host: Pick<HostRecord, 'name' | 'fence'>): number {
  const count = host.fence?.levels.length ?? 0
  if (count > 0) return count
  throw new HoldfastError('wrong-state', `${host.name} has no fence device`, {
    mend: `Set one: holdfast host set-fence ${host.name} --agent fence_ipmilan --option ip=ADDRESS …`,
  })
}

/** Every device of the level switches. Throws what each says that failed. */
export async function switchLevel(context: LevelContext, level: number, to: 'on' | 'off'): Promise<void> {
  const { fence } = context.deps
  await onEach(context, level, (order) => fence.switch(order, to))
}

/** Every device of the level says so. Throws what each says that does not. */
export async function needStatus(context: LevelContext, level: number, wanted: 'on' | 'off'): Promise<void> {
  const { fence, clock } = context.deps
  await onEach(context, level, async (order) => {
    for (let left = statusTries - 1; ; left--) {
      if ((await fence.status(order)) === wanted) return
      if (left === 0) throw new HoldfastError('host-error', `says that it is not ${wanted}`)
      await clock.sleep(statusPauseMs, context.signal)
    }
  })
}

async function onEach(
  { host, timeoutMs, signal }: LevelContext,
  level: number,
  act: (order: FenceOrder) => Promise<void>,
): Promise<void> {
  const devices = host.fence?.levels[level] ?? []
  if (devices.length === 0) throw new HoldfastError('wrong-state', `${host.name} has no level ${level + 1}`)
  const ends = await Promise.allSettled(devices.map((device) => act({ host: host.id, device, timeoutMs, signal })))
  const failures = ends.flatMap((end, at) =>
    end.status === 'fulfilled' ? [] : [`${devices[at]?.agent ?? ''} ${describeError(end.reason)}`],
  )
  if (failures.length > 0) throw new HoldfastError('host-error', failures.join('; '))
}

/**
 * The first level for which `act` succeeds: those from `first` on, then the ones before. When none does: throws `unreachable`
 * with what each said, so that it is tried again, and `tell` is called with that. Where `act` throws `wrong-state` or
 * `unreachable` it is not for the devices that it failed, and no other level is asked.
 */
export async function firstLevel(
  host: Pick<HostRecord, 'name' | 'fence'>,
  first: number,
  act: (level: number) => Promise<void>,
  tell: (problem: string) => Promise<void>,
): Promise<number> {
  const failures: string[] = []
  const count = levelCount(host)
  for (let nth = 0; nth < count; nth++) {
    const level = (first + nth) % count
    try {
      await act(level)
      return level
    } catch (thrown) {
      const { code } = toHoldfastError(thrown)
      if (code === 'wrong-state' || code === 'unreachable') throw thrown
      failures.push(`level ${level + 1}: ${describeError(thrown)}`)
    }
  }
  const problem = failures.join('. ')
  await tell(problem)
  throw new HoldfastError('unreachable', problem)
}
