/**
 * The primary's part of the protocol that decides who may go on. Pure, as second-side.ts.
 *
 *                   ╭──own gap──▶ confirming ──still open──╮
 *   alone ──begin──▶ protecting ◀──────────────────────────╯
 *     ▲                  ╰──silence──▶ claiming ──won──▶ alone
 *     ╰─────────────────────────────────┴────────lost──▶ lost
 *
 * - While it protects, an epoch's output leaves only when the second has acknowledged that epoch.
 * - To let output go without the second it must have won its configuration.
 * - After a gap in its own time the second may have taken over: nothing leaves until the arbiter, or a new word of the
 *   second about an epoch that was cut after the gap, says that it has not.
 */
import type { ProtectionConfig, RegisterAnswer } from '../../contracts/protection.ts'
import { changeOnAnswer, changeOnConfigured, changeOnTick, type Change } from './new-arbiter.ts'
import type { ProtectionLimits } from './second-side.ts'

export interface PrimaryState {
  readonly config: ProtectionConfig
  readonly since: number
  readonly phase: 'protecting' | 'confirming' | 'claiming' | 'alone' | 'lost'
  /** The newest epoch that was cut, and the newest that the second has acknowledged. */
  readonly cut: number
  readonly acked: number
  /** In `confirming`: the newest epoch that was cut before the gap was seen. */
  readonly gapAt: number
  /** The highest number that was ever used for a configuration of this VM. */
  readonly lastN: number
  readonly heardAt: number
  readonly steppedAt: number
  readonly askedAt: number
  readonly change: Change | null
}

export type PrimaryInput =
  | { readonly is: 'tick' }
  /** The pump has stopped the guest for a moment and taken an epoch. */
  | { readonly is: 'cut' }
  | { readonly is: 'beat'; readonly n: number }
  | { readonly is: 'ack'; readonly n: number; readonly epoch: number }
  | { readonly is: 'configured'; readonly n: number }
  | { readonly is: 'peer-gone' }
  /** An answer about configuration n, by its arbiter. */
  | { readonly is: 'answer'; readonly n: number; readonly answer: RegisterAnswer }
  /** An arbiter has opened configuration n. */
  | { readonly is: 'opened'; readonly n: number }
  /**
   * Let another decide from now on, under a number that was never used: who chooses it makes that durable first. `old`:
   * whether the one before can be asked to step back.
   */
  | {
      readonly is: 'new-arbiter'
      readonly next: Pick<ProtectionConfig, 'n' | 'arbiter' | 'at'>
      readonly life: string
      readonly old: 'asked' | 'gone'
    }

export type PrimaryAct =
  /** Durable before the acts after it. */
  | { readonly do: 'save'; readonly config: ProtectionConfig; readonly lastN: number }
  | { readonly do: 'ship'; readonly epoch: number }
  | { readonly do: 'beat'; readonly n: number }
  /** Output of all epochs up to this one may leave. */
  | { readonly do: 'release'; readonly through: number }
  | { readonly do: 'claim'; readonly config: ProtectionConfig }
  | { readonly do: 'look'; readonly config: ProtectionConfig }
  | { readonly do: 'open'; readonly config: ProtectionConfig; readonly life: string }
  | { readonly do: 'supersede'; readonly config: ProtectionConfig; readonly next: ProtectionConfig }
  | { readonly do: 'configure'; readonly next: ProtectionConfig }
  /** The copy here has lost: its QEMU ends. */
  | { readonly do: 'kill' }

export interface PrimaryStep {
  readonly state: PrimaryState
  readonly acts: readonly PrimaryAct[]
}

/** A primary whose second, just made, holds everything up to epoch `cut`. */
export function newPrimary(config: ProtectionConfig, cut: number, now: number): PrimaryState {
  return {
    ...{ config, since: config.n, phase: 'protecting', cut, acked: cut, gapAt: cut, lastN: config.n },
    ...{ heardAt: now, steppedAt: now, askedAt: now, change: null },
  }
}

export function stepPrimary(
  before: PrimaryState,
  input: PrimaryInput,
  now: number,
  limits: ProtectionLimits,
): PrimaryStep {
  const hadGap = now - before.steppedAt > limits.silenceMs
  let state: PrimaryState = { ...before, steppedAt: now }
  const first: PrimaryAct[] = []
  if (hadGap && state.phase === 'protecting') {
    state = { ...state, phase: 'confirming', gapAt: state.cut, heardAt: now, askedAt: now }
    first.push({ do: 'look', config: state.config })
  }
  const step = stepPhase(state, input, now, limits)
  return { state: step.state, acts: [...first, ...step.acts] }
}

function stepPhase(state: PrimaryState, input: PrimaryInput, now: number, limits: ProtectionLimits): PrimaryStep {
  switch (state.phase) {
    case 'protecting':
    case 'confirming':
      return whileBound(state, input, now, limits)
    case 'claiming':
      return whileClaiming(state, input, now, limits)
    case 'alone':
      if (input.is !== 'cut') return { state, acts: [] }
      return { state: { ...state, cut: state.cut + 1 }, acts: [{ do: 'release', through: state.cut + 1 }] }
    case 'lost':
      return { state, acts: [] }
  }
}

function whileBound(state: PrimaryState, input: PrimaryInput, now: number, limits: ProtectionLimits): PrimaryStep {
  switch (input.is) {
    case 'cut':
      return { state: { ...state, cut: state.cut + 1 }, acts: [{ do: 'ship', epoch: state.cut + 1 }] }
    case 'beat':
      return { state: input.n >= state.since ? { ...state, heardAt: now } : state, acts: [] }
    case 'ack':
      return input.n >= state.since ? onAck(state, input.epoch, now) : { state, acts: [] }
    case 'peer-gone':
      return claim(state, now)
    case 'tick':
      return onTick(state, now, limits)
    case 'configured':
      return changeOnConfigured(state, input.n)
    case 'new-arbiter':
    case 'opened':
      return changeOnAnswer(state, input, now)
    case 'answer':
      return onAnswer(state, input, now)
  }
}

function onAck(state: PrimaryState, epoch: number, now: number): PrimaryStep {
  const next: PrimaryState = { ...state, heardAt: now, acked: Math.max(state.acked, epoch) }
  if (state.phase === 'confirming' && epoch <= state.gapAt) return { state: next, acts: [] }
  return { state: { ...next, phase: 'protecting' }, acts: [{ do: 'release', through: next.acked }] }
}

function onTick(state: PrimaryState, now: number, limits: ProtectionLimits): PrimaryStep {
  if (now - state.heardAt > limits.silenceMs) return claim(state, now)
  const beat: PrimaryAct = { do: 'beat', n: state.config.n }
  const step = changeOnTick(state, now, limits)
  if (state.phase !== 'confirming' || now - state.askedAt <= limits.askAgainMs)
    return { state: step.state, acts: [beat, ...step.acts] }
  const asked: PrimaryAct = { do: 'look', config: state.config }
  return { state: { ...step.state, askedAt: now }, acts: [beat, asked, ...step.acts] }
}

/** To be answered about the configuration before it was superseded is to be answered about that one. */
function onAnswer(state: PrimaryState, input: Extract<PrimaryInput, { is: 'answer' }>, now: number): PrimaryStep {
  if (input.n !== state.config.n) return { state, acts: [] }
  const { answer } = input
  if (answer.is === 'lost') return lose(state)
  if (answer.is === 'superseded') return changeOnAnswer(state, input, now)
  // A claim of this side that it had sent before it was bound again is not possible: who claims stays at it.
  if (answer.is === 'open' && state.phase === 'confirming')
    return { state: { ...state, phase: 'protecting' }, acts: [{ do: 'release', through: state.acked }] }
  return { state, acts: [] }
}

/** What a change of the arbiter was about to do is let go: its number is used up, and nobody is bound by it. */
function claim(state: PrimaryState, now: number): PrimaryStep {
  const { change } = state
  const isOpening = change?.stage === 'opening-adopted'
  const open: PrimaryAct[] = isOpening ? [{ do: 'open', config: state.config, life: change.life }] : []
  return {
    state: { ...state, phase: 'claiming', askedAt: now, change: isOpening ? change : null },
    acts: [...open, { do: 'claim', config: state.config }],
  }
}

function lose(state: PrimaryState): PrimaryStep {
  return { state: { ...state, phase: 'lost', change: null }, acts: [{ do: 'kill' }] }
}

function whileClaiming(state: PrimaryState, input: PrimaryInput, now: number, limits: ProtectionLimits): PrimaryStep {
  if (input.is === 'tick' && now - state.askedAt > limits.askAgainMs) return claim(state, now)
  if (input.is !== 'answer' || input.n !== state.config.n) return { state, acts: [] }
  switch (input.answer.is) {
    case 'won':
      return { state: { ...state, phase: 'alone', change: null }, acts: [{ do: 'release', through: state.cut }] }
    case 'lost':
      return lose(state)
    case 'superseded': {
      const config = input.answer.next
      const lastN = Math.max(state.lastN, config.n)
      const step = claim({ ...state, config, lastN, change: null }, now)
      return { state: step.state, acts: [{ do: 'save', config, lastN }, ...step.acts] }
    }
    case 'open':
    case 'unknown':
      return { state, acts: [] }
  }
}
