/** Looks at the guests that are to be monitored, each at its own pace. Where none is, nothing goes on at all. */
import { orAborted } from '../../base/aborted.ts'
import type { Clock } from '../../base/clock.ts'
import { describeError } from '../../base/errors.ts'
import type { VmId } from '../../base/ids.ts'
import type { Logger } from '../../base/log.ts'
import type { HostConfiguration } from '../../contracts/agent-api.ts'
import type { FramesSent, GuestSigns } from './guest-signs.ts'

/** The shortest pace. */
const tickMs = 1000

export interface MonitorDeps {
  readonly clock: Clock
  readonly log: Logger
  readonly signs: GuestSigns
}

/** What a guest is looked at through. */
export interface WatchedVm {
  readonly vm: VmId
  /** Whether a look is due now; then it counts as begun. */
  isLookDue(nowMs: number, everyMs: number): boolean
  look(signs: GuestSigns, frames: FramesSent, everyMs: number): Promise<void>
}

/** Which VMs are monitored, as the manager has it. */
export class Monitored {
  #everyMs = new Map<VmId, number | null>()
  #changed = Promise.withResolvers<void>()

  has(vm: VmId): boolean {
    return this.#everyMs.has(vm)
  }

  /** Null: it is not asked for signs of life. */
  everyMs(vm: VmId): number | null {
    return this.#everyMs.get(vm) ?? null
  }

  get isAny(): boolean {
    return [...this.#everyMs.values()].some((every) => every !== null)
  }

  get changed(): Promise<void> {
    return this.#changed.promise
  }

  /** Gives the VMs that are monitored now and were not, or the other way round. */
  set(monitored: NonNullable<HostConfiguration['monitored']>): VmId[] {
    const before = this.#everyMs
    this.#everyMs = new Map(monitored.map(({ vm, everyMs }) => [vm, everyMs]))
    this.#changed.resolve()
    this.#changed = Promise.withResolvers()
    return [...new Set([...before.keys(), ...this.#everyMs.keys()])].filter((vm) => before.has(vm) !== this.has(vm))
  }
}

/** Until the signal; rejects then, and for nothing else. */
export async function runMonitor(
  deps: MonitorDeps,
  monitored: Monitored,
  vms: () => Promise<readonly WatchedVm[]>,
  signal: AbortSignal,
): Promise<never> {
  for (;;) {
    if (!monitored.isAny) await orAborted(monitored.changed, signal)
    await deps.clock.sleep(tickMs, signal)
    await lookAtAll(deps, monitored, vms).catch((err: unknown) => {
      deps.log.warn({ err: describeError(err) }, 'the guests could not be looked at; it is tried again')
    })
  }
}

async function lookAtAll(
  { clock, signs, log }: MonitorDeps,
  monitored: Monitored,
  vms: () => Promise<readonly WatchedVm[]>,
): Promise<void> {
  const all = await vms()
  const now = clock.monotonic()
  const due = all.flatMap((watched) => {
    const everyMs = monitored.everyMs(watched.vm)
    return everyMs !== null && watched.isLookDue(now, everyMs) ? [{ watched, everyMs }] : []
  })
  if (due.length === 0) return
  const frames = await signs.framesSent()
  const look = async ({ watched, everyMs }: (typeof due)[number]): Promise<void> => {
    await watched.look(signs, frames, everyMs).catch((err: unknown) => {
      log.debug({ vm: watched.vm, err: describeError(err) }, 'the guest could not be looked at')
    })
  }
  // One that does not answer is waited for some seconds; the others do not wait for it.
  for (const one of due) void look(one)
}
