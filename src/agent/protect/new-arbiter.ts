/**
 * How a primary puts another arbiter in the place of the one before, while its second follows. There are two ways, since
 * at no moment may one side win the old configuration and the other the new:
 *
 *   asked   opening ──opened──▶ closing ──superseded──▶ telling ──configured──▶ done
 *           The old arbiter itself turns n into "go to n+1", in one durable step. Whoever asks for n then is sent on.
 *   gone    promising ──configured──▶ opening-adopted ──opened──▶ done
 *           The old one cannot be asked. First the second gives up its right to n, then the primary does, and only then is
 *           the new number opened. Between the first and the last nobody can win: with the old arbiter gone, nobody could.
 *
 * The two never use the same number, so a change that was given up binds nobody. The first way is not given up any more
 * once the old arbiter was told: it may step back at any time. What does not come to an end (the old one does not answer; the
 * new one is lost before it has opened its configuration) is followed by the second way, from wherever both sides are. Only
 * that way may lead to an arbiter that decides already, for one that has lost its memory: a register keeps the newest
 * configuration alone, so in the first way both sides would lose.
 */
import type { ProtectionConfig } from '../../contracts/protection.ts'
import type { PrimaryInput, PrimaryState, PrimaryStep } from './primary-side.ts'
import type { ProtectionLimits } from './second-side.ts'

export interface Change {
  readonly stage: 'opening' | 'closing' | 'telling' | 'promising' | 'opening-adopted'
  readonly next: ProtectionConfig
  /** The life of the new arbiter's memory that is meant. */
  readonly life: string
  readonly since: number
}

/** Patience with a new arbiter, in silences. */
const patience = 4

export type NewArbiter = Extract<PrimaryInput, { is: 'new-arbiter' }>
type Answered = Extract<PrimaryInput, { is: 'new-arbiter' | 'opened' | 'answer' }>

export function changeOnAnswer(state: PrimaryState, input: Answered, now: number): PrimaryStep {
  const { change } = state
  switch (input.is) {
    case 'new-arbiter':
      return mayBegin(state, input) ? begin(state, input, now) : { state, acts: [] }
    case 'opened':
      if (change === null || change.next.n !== input.n) return { state, acts: [] }
      if (change.stage === 'opening-adopted') return { state: { ...state, change: null }, acts: [] }
      if (change.stage !== 'opening') return { state, acts: [] }
      return {
        state: { ...state, change: { ...change, stage: 'closing' } },
        acts: [{ do: 'supersede', config: state.config, next: change.next }],
      }
    case 'answer':
      // While it is promised another, the second may have left both: what it was promised comes about.
      if (input.answer.is !== 'superseded' || change?.stage === 'promising') return { state, acts: [] }
      return adopt(state, input.answer.next, 'telling', now)
  }
}

/** The second is at the new configuration. */
export function changeOnConfigured(state: PrimaryState, n: number): PrimaryStep {
  const { change } = state
  if (change === null || change.next.n !== n) return { state, acts: [] }
  if (change.stage === 'telling') return { state: { ...state, change: null }, acts: [] }
  if (change.stage !== 'promising') return { state, acts: [] }
  const step = adopt(state, change.next, 'opening-adopted', change.since)
  return { state: step.state, acts: [...step.acts, { do: 'open', config: change.next, life: change.life }] }
}

/** Says again what was not answered; gives up a new arbiter that does not open. */
export function changeOnTick(state: PrimaryState, now: number, limits: ProtectionLimits): PrimaryStep {
  const { change, config } = state
  if (change === null) return { state, acts: [] }
  const { next, life } = change
  switch (change.stage) {
    case 'opening':
      if (now - change.since > patience * limits.silenceMs) return { state: { ...state, change: null }, acts: [] }
      return { state, acts: [{ do: 'open', config: next, life }] }
    case 'closing':
      return { state, acts: [{ do: 'supersede', config, next }] }
    case 'opening-adopted':
      return { state, acts: [{ do: 'open', config: next, life }] }
    case 'telling':
    case 'promising':
      return { state, acts: [{ do: 'configure', next }] }
  }
}

/** Only what waits for an arbiter is followed by another change, and no number is used twice. */
export function mayBegin({ config, change, lastN }: PrimaryState, { next, old }: NewArbiter): boolean {
  if (next.n <= lastN) return false
  if (old === 'asked') return change === null && next.arbiter !== config.arbiter
  return change === null || change.stage !== 'telling'
}

function begin(state: PrimaryState, input: NewArbiter, now: number): PrimaryStep {
  const { vm, primary, second } = state.config
  const next = { vm, primary, second, ...input.next }
  const { life } = input
  const stage = input.old === 'asked' ? 'opening' : 'promising'
  const first =
    stage === 'opening' ? ({ do: 'open', config: next, life } as const) : ({ do: 'configure', next } as const)
  return {
    state: { ...state, lastN: next.n, change: { stage, next, life, since: now } },
    acts: [{ do: 'save', config: state.config, lastN: next.n }, first],
  }
}

/** From now on this side never asks about the configuration before. */
function adopt(state: PrimaryState, next: ProtectionConfig, stage: Change['stage'], now: number): PrimaryStep {
  const lastN = Math.max(state.lastN, next.n)
  const life = state.change?.life ?? ''
  const tell = stage === 'telling' ? [{ do: 'configure', next } as const] : []
  return {
    state: { ...state, config: next, lastN, change: { stage, next, life, since: now } },
    acts: [{ do: 'save', config: next, lastN }, ...tell],
  }
}
