/** Draws the silence after a crash as text: a column for each 50 ms, as high as ticks came in it. Pure. */
import type { Arrival, Silence } from './tick-log.ts'

export interface Gap {
  readonly arrivals: readonly Arrival[]
  readonly silence: Silence
  readonly from: string
  readonly to: string
}

const bars = ['·', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'] as const
const shortestColumnMs = 50
/** Columns shown before and after the silence. */
const margin = 14
/** So long after the silence a picture of it is whole. */
export const afterSilenceMs = margin * shortestColumnMs
const tickMs = 5

export function drawGap({ arrivals, silence, from, to }: Gap, width = 80): string {
  const columns = Math.max(width - 2, margin * 2 + 10)
  const silenceMs = silence.to - silence.from
  const times = Math.ceil(silenceMs / shortestColumnMs / (columns - 2 * margin - 2))
  const columnMs = shortestColumnMs * Math.max(1, times)
  // The last tick before the silence is in the last column before it, whatever the times are.
  const start = silence.from - margin * columnMs + 1
  const last = margin + Math.floor((silence.to - start - margin * columnMs) / columnMs)
  const counts = Array.from({ length: last + margin }, () => 0)
  for (const { at, count } of arrivals) {
    const column = Math.floor((at - start) / columnMs)
    if (counts[column] !== undefined) counts[column] += count
  }
  const full = columnMs / tickMs
  return [
    `ticks per ${columnMs} ms`,
    counts.map((count) => barOf(count / full)).join(''),
    `${' '.repeat(margin - 1)}╵ the last from ${from}`,
    `${' '.repeat(last)}╵ the first from ${to}, ${Math.round(silenceMs)} ms later`,
  ]
    .map((line) => `  ${line}\n`)
    .join('')
}

function barOf(share: number): string {
  if (share === 0) return bars[0]
  return bars[Math.min(bars.length - 1, Math.max(1, Math.round(share * (bars.length - 1))))] ?? bars[0]
}
