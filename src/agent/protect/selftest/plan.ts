/** What the self-test is told, as a file, and what it says, as lines of JSON on its standard output. */
import type { TrackerKind } from '../../../base/process-memory.ts'

export interface SelftestPlan {
  readonly takeovers: number
  readonly accelerator: 'kvm' | 'tcg'
  readonly machineType: string
  readonly tracker: TrackerKind
  /** For all that it makes; short, since sockets lie below it. */
  readonly folder: string
}

export interface SelftestFigures {
  readonly takeovers: number
  /** Epochs that were compared, on both sides. */
  readonly epochs: number
  /** From the death of the primary until the next frame of the guest, milliseconds. */
  readonly medianSilenceMs: number
  readonly longestSilenceMs: number
  /** How long the guest stands still for an epoch, median, milliseconds. With the comparison in it. */
  readonly pauseMs: number
  /** Of the guest, in all. */
  readonly ticks: number
  /** On their way through a QEMU when it was killed. */
  readonly lostFrames: number
}

export type SelftestLine =
  | { readonly is: 'progress'; readonly figures: SelftestFigures }
  | { readonly is: 'passed'; readonly figures: SelftestFigures }
  | { readonly is: 'failed'; readonly why: string; readonly takeovers: number }
