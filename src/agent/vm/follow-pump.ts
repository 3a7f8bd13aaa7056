/**
 * Follows the pump of a pair. One that has ended before it came to anything is followed by another, which finds out who may
 * go on; what the last one came to is carried out here (pair.ts).
 */
import { orAborted } from '../../base/aborted.ts'
import { describeError, HoldfastError } from '../../base/errors.ts'
import { hold, giveUp, memoryOf, outcomeOf, settlePair } from './pair.ts'
import type { VmCore } from './vm-core.ts'
import type { VmState } from './vm-state.ts'

const firstPauseMs = 100
const longestPauseMs = 5000
/** A pump that lived so long was no failure to start one. */
const livedMs = 1000

/** Until the pair has come to something, and this host has done its part of what follows. */
export async function followPump(core: VmCore, inQueue: (work: () => Promise<void>) => Promise<void>): Promise<void> {
  const { clock, signal } = core.ports
  let pauseMs = 0
  while (isOpen(core.state)) {
    const since = clock.monotonic()
    try {
      await inQueue(() => takeUp(core))
      await untilGone(core)
    } catch (err) {
      signal.throwIfAborted()
      if (err instanceof HoldfastError && err.code === 'cancelled') return
      core.log.warn({ err: describeError(err) }, 'the pump of the VM cannot be followed yet')
    }
    if (!isOpen(core.state)) return
    const hasLived = clock.monotonic() - since > livedMs
    pauseMs = hasLived ? 0 : Math.min(Math.max(pauseMs * 2, firstPauseMs), longestPauseMs)
    if (pauseMs > 0) await clock.sleep(pauseMs, signal)
  }
}

function isOpen({ protection }: VmState): boolean {
  return protection != null && protection.outcome !== 'alone' && protection.outcome !== 'running'
}

/** Finds the pump, or has another follow it, or carries out what it came to. In the queue, or before there is any. */
export async function takeUp(core: VmCore): Promise<void> {
  const held = core.state.protection
  if (held == null || !isOpen(core.state)) return
  if (held.outcome !== null) return giveUp(core)
  if (core.pump !== undefined) return
  const { pumps } = core.ports
  const found = await pumps.adopt(core.vm)
  if (found === undefined) {
    const outcome = outcomeOf(await memoryOf(core, held), held)
    if (outcome !== undefined) return settlePair(core, outcome)
    core.log.warn({ n: held.n, side: held.side }, 'the pump has ended before it came to anything: another follows it')
  }
  const pump = found ?? (await pumps.salvage(core.vm))
  core.attachPump(pump)
  if (pump.side === 'primary') await hold(core, true)
}

/** Resolves at once where no pump is known. Rejects when the agent ends. */
async function untilGone(core: VmCore): Promise<void> {
  const { pump } = core
  const { signal } = core.ports
  if (pump !== undefined) await orAborted(pump.gone, signal)
}
