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
 * The two never use the same number, so a change that was given up binds nobody.
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

/** Patience with an arbiter that is to step back, in silences. */
const patience = 4

type Answered = Extract<PrimaryInput, { is: 'new-arbiter' | 'opened' | 'answer' }>

export function changeOnAnswer(state: PrimaryState, input: Answered, now: number): PrimaryStep {
  const { change } = state
  switch (input.is) {
    case 'new-arbiter':
      return change === null ? begin(state, input, now) : { state, acts: [] }
    case 'opened':
      if (change === null || change.next.n !== input.n) return { state, acts: [] }
      if (change.stage === 'opening-adopted') return { state: { ...state, change: null }, acts: [] }
      if (change.stage !== 'opening') return { state, acts: [] }
      return {
        state: { ...state, change: { ...change, stage: 'closing' } },
        acts: [{ do: 'supersede', config: state.config, next: change.next }],
      }
    case 'answer':
      return input.answer.is === 'superseded' ? adopt(state, input.answer.next, 'telling', now) : { state, acts: [] }
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

/** Says again what was not answered; gives up an arbiter that does not step back. */
export function changeOnTick(state: PrimaryState, now: number, limits: ProtectionLimits): PrimaryStep {
  const { change, config } = state
  if (change === null) return { state, acts: [] }
  const { next, life } = change
  switch (change.stage) {
    case 'opening':
    case 'closing':
      if (now - change.since > patience * limits.silenceMs) return { state: { ...state, change: null }, acts: [] }
      if (change.stage === 'opening') return { state, acts: [{ do: 'open', config: next, life }] }
      return { state, acts: [{ do: 'supersede', config, next }] }
    case 'opening-adopted':
      return { state, acts: [{ do: 'open', config: next, life }] }
    case 'telling':
    case 'promising':
      return { state, acts: [{ do: 'configure', next }] }
  }
}

function begin(state: PrimaryState, input: Extract<PrimaryInput, { is: 'new-arbiter' }>, now: number): PrimaryStep {
  const next = { ...state.config, arbiter: input.arbiter, n: state.lastN + 1 }
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
