/**
 * The second's part of the protocol that decides who may go on. Pure: a state, what happened, and when; out come the next
 * state and what to do, in this order. It knows nothing of pages and sockets.
 *
 *   candidate ──begin──▶ following ──silence──▶ claiming ──won──▶ running
 *                            ╰──────────────────────┴─────lost──▶ dropped
 *
 * - A candidate holds a copy, but the primary is not bound by it yet: it never asks to run.
 * - What it has acknowledged it will apply if it takes over. Before it asks it stops acknowledging, and never begins again.
 * - Its own gap is nobody else's silence: after it was frozen it listens anew before it judges.
 */
import type { ProtectionConfig, RegisterAnswer } from '../../contracts/protection.ts'

export interface ProtectionLimits {
  /** Silence of the other side after which it is given up, milliseconds. */
  readonly silenceMs: number
  /** Between two askings of an arbiter that does not answer, milliseconds. */
  readonly askAgainMs: number
}

export interface SecondState {
  readonly config: ProtectionConfig
  /** The configuration with which this pair began: what was said under an older one is of another pair. */
  readonly since: number
  readonly phase: 'candidate' | 'following' | 'claiming' | 'running' | 'dropped'
  /** The newest epoch that is whole and safe here. */
  readonly acked: number
  readonly heardAt: number
  readonly steppedAt: number
  readonly askedAt: number
}

export type SecondInput =
  | { readonly is: 'tick' }
  /** Any word of the primary: its beat, or that this pair has begun. */
  | { readonly is: 'beat'; readonly n: number }
  /** An epoch is here as a whole, durable as far as it must be. */
  | { readonly is: 'epoch'; readonly n: number; readonly epoch: number }
  /** The primary names a newer configuration of the same pair. */
  | { readonly is: 'configure'; readonly next: ProtectionConfig }
  /** The connection broke in a way that only the end of the primary explains. */
  | { readonly is: 'peer-gone' }
  | { readonly is: 'answer'; readonly n: number; readonly answer: RegisterAnswer }

export type SecondAct =
  /** Durable before the acts after it. */
  | { readonly do: 'save'; readonly config: ProtectionConfig }
  | { readonly do: 'ack'; readonly n: number; readonly epoch: number }
  | { readonly do: 'beat'; readonly n: number }
  | { readonly do: 'configured'; readonly n: number }
  | { readonly do: 'claim'; readonly config: ProtectionConfig }
  /** Apply everything that was acknowledged, then run. */
  | { readonly do: 'run'; readonly from: number }
  | { readonly do: 'discard' }

export interface SecondStep {
  readonly state: SecondState
  readonly acts: readonly SecondAct[]
}

/** A second that has a whole copy of epoch `acked`. */
export function newSecond(config: ProtectionConfig, acked: number, now: number): SecondState {
  return { config, since: config.n, phase: 'candidate', acked, heardAt: now, steppedAt: now, askedAt: now }
}

export function stepSecond(before: SecondState, input: SecondInput, now: number, limits: ProtectionLimits): SecondStep {
  const wasFrozen = now - before.steppedAt > limits.silenceMs
  const state: SecondState = { ...before, steppedAt: now, ...(wasFrozen ? { heardAt: now } : {}) }
  switch (state.phase) {
    case 'candidate':
    case 'following':
      return whileFollowing(state, input, now, limits)
    case 'claiming':
      return whileClaiming(state, input, now, limits)
    case 'running':
    case 'dropped':
      return { state, acts: [] }
  }
}

function whileFollowing(state: SecondState, input: SecondInput, now: number, limits: ProtectionLimits): SecondStep {
  const isOurs = 'n' in input && input.n >= state.since
  const heard: SecondState = { ...state, phase: 'following', heardAt: now }
  switch (input.is) {
    case 'beat':
      return { state: isOurs ? heard : state, acts: [] }
    case 'epoch': {
      if (!isOurs) return { state, acts: [] }
      const acked = Math.max(state.acked, input.epoch)
      return { state: { ...heard, acked }, acts: [{ do: 'ack', n: state.config.n, epoch: acked }] }
    }
    case 'configure':
      return configure(state, input.next)
    case 'peer-gone':
      return state.phase === 'following' ? claim(state, now) : { state, acts: [] }
    case 'tick':
      if (state.phase === 'following' && now - state.heardAt > limits.silenceMs) return claim(state, now)
      return { state, acts: [{ do: 'beat', n: state.config.n }] }
    case 'answer':
      return { state, acts: [] }
  }
}

/** From now on it never asks about the configuration before. */
function configure(state: SecondState, next: ProtectionConfig): SecondStep {
  const isForMe = next.second === state.config.second && next.primary === state.config.primary
  if (!isForMe || next.n < state.config.n) return { state, acts: [] }
  const said = { do: 'configured', n: next.n } as const
  if (next.n === state.config.n) return { state, acts: [said] }
  return { state: { ...state, config: next }, acts: [{ do: 'save', config: next }, said] }
}

function claim(state: SecondState, now: number): SecondStep {
  return { state: { ...state, phase: 'claiming', askedAt: now }, acts: [{ do: 'claim', config: state.config }] }
}

function whileClaiming(state: SecondState, input: SecondInput, now: number, limits: ProtectionLimits): SecondStep {
  if (input.is === 'tick' && now - state.askedAt > limits.askAgainMs) return claim(state, now)
  if (input.is !== 'answer' || input.n !== state.config.n) return { state, acts: [] }
  switch (input.answer.is) {
    case 'won':
      return { state: { ...state, phase: 'running' }, acts: [{ do: 'run', from: state.acked }] }
    case 'lost':
      return { state: { ...state, phase: 'dropped' }, acts: [{ do: 'discard' }] }
    case 'superseded': {
      const { next } = input.answer
      const step = claim({ ...state, config: next }, now)
      return { state: step.state, acts: [{ do: 'save', config: next }, ...step.acts] }
    }
    case 'open':
    case 'unknown':
      return { state, acts: [] }
  }
}
