/**
 * This host's part in a pair, from the start of its pump to what the pair comes to. A pump's final memory is made this
 * host's own, durably, before anything follows from it; the pump's is forgotten when the record says so too, or when this
 * side is out. Runs in the VM's queue.
 */
import { describeError } from '../../base/errors.ts'
import type { PumpMemory } from '../protect/pumps.ts'
import { newAttempt } from './transitions.ts'
import type { VmCore } from './vm-core.ts'
import type { HeldProtection, ProtectionOutcome } from './vm-state.ts'

/** A host that cannot hold VMs in step refuses before anything is noted. Throws `refused`. */
export async function mustHavePumps(core: VmCore): Promise<void> {
  await core.ports.pumps.memory(core.vm)
}

/** What the last pump of this pair made durable; that of an earlier pair tells nothing of this one. */
export async function memoryOf(core: VmCore, held: HeldProtection): Promise<PumpMemory | undefined> {
  const memory = await core.ports.pumps.memory(core.vm)
  return memory !== undefined && memory.side === held.side && memory.config.n >= held.n ? memory : undefined
}

/** Of a memory that is final, or of none: then nothing of the pair ever began here. */
export function outcomeOf(memory: PumpMemory | undefined, { side }: HeldProtection): ProtectionOutcome | undefined {
  if (memory === undefined) return side === 'primary' ? 'alone' : 'dropped'
  const { phase } = memory
  return phase === 'syncing' || phase === 'candidate' || phase === 'bound' ? undefined : phase
}

export async function settlePair(core: VmCore, outcome: ProtectionOutcome): Promise<void> {
  const held = core.state.protection
  if (held == null) return
  core.log.info({ n: held.n, side: held.side, outcome }, 'the protection has come to its end')
  switch (outcome) {
    case 'alone':
      return goOnAlone(core, held)
    case 'running':
      return takeOver(core, held)
    case 'lost':
    case 'dropped':
      await core.save({ protection: { ...held, outcome } })
      return giveUp(core)
  }
}

async function goOnAlone(core: VmCore, held: HeldProtection): Promise<void> {
  await core.save({
    protection: { ...held, outcome: 'alone' },
    pending: core.state.pending ?? newAttempt(core, 'alone'),
  })
  core.background.tell()
  await hold(core, false)
  // A pump that followed one which had died does not know that somebody wants it to stand still.
  if (core.state.pausedByUser && core.machineState === 'running') {
    await core.mustHaveMachine().pause()
    core.machineState = 'paused'
  }
  core.background.look()
}

/** The arbiter has given it to this host, and its guest runs here: tell the networks and the manager. */
async function takeOver(core: VmCore, held: HeldProtection): Promise<void> {
  const machine = await core.askMachine().catch(() => core.machineState)
  await core.save({
    role: 'running',
    protection: { ...held, outcome: 'running' },
    startedAt: core.wallClock(),
    pausedByUser: machine === 'paused',
    outOfSpace: false,
    problem: null,
    pending: core.state.pending ?? newAttempt(core, 'took-over'),
  })
  core.announce()
  core.background.tell()
}

/** This side is out: QEMU ends first, then that nothing of it runs here again is durable. Its images are the manager's. */
export async function giveUp(core: VmCore): Promise<void> {
  const held = core.state.protection
  if (held == null) return
  const memory = await memoryOf(core, held)
  await core.quitMachine()
  await core.ports.pumps.forget(core.vm)
  await core.save({
    role: 'none',
    protection: null,
    givenUp: Math.max(core.state.givenUp ?? 0, held.n, memory?.config.n ?? 0),
    pending: null,
    pausedByUser: false,
    outOfSpace: false,
    startedAt: null,
    movingDisk: null,
  })
}

/** The record says what the pair came to. */
export async function forgetPair(core: VmCore): Promise<void> {
  await core.ports.pumps.forget(core.vm)
  const wasTaken = core.state.protection?.outcome === 'running'
  await core.save({ protection: null, ...(wasTaken ? { problem: null } : {}) })
}

/** While a pump works on it, QEMU's stops are the pump's. Where that cannot be said nothing is lost but calm. */
export async function hold(core: VmCore, isHeld: boolean): Promise<void> {
  if (core.machine === undefined || core.machineState === 'gone') return
  try {
    await core.machine.setHeld(isHeld)
    await core.askMachine()
  } catch (err) {
    core.log.warn({ err: describeError(err), isHeld }, 'QEMU could not be told whose its stops are')
  }
}
