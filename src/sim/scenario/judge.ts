/** Compares the log of a scenario with what its file expects. Pure. */
import { spanMs, type Expectations, type ExpectedEvent, type Never } from './format.ts'
import type { Line } from './log.ts'
import { doesMatch } from './words.ts'

/** One expectation: kept, or why not. */
export interface Verdict {
  readonly what: string
  readonly problem: string | null
}

/** `startMs`: of the first step. */
export function judge(expect: Expectations, lines: readonly Line[], startMs: number): Verdict[] {
  return [...judgeEvents(expect.events ?? [], lines, startMs), ...judgeNever(expect.never ?? [], lines)]
}

/** Where the next one is looked for, and what its times are counted from. */
interface Place {
  readonly at: number
  readonly ms: number
}

function judgeEvents(events: NonNullable<Expectations['events']>, lines: readonly Line[], startMs: number): Verdict[] {
  const verdicts: Verdict[] = []
  let place: Place = { at: 0, ms: startMs }
  for (const each of events) {
    const begin = place
    const taken = new Set<number>()
    for (const one of 'is' in each ? [each] : each.anyOrder) {
      const { verdict, found } = judgeOne(one, lines, begin, taken)
      verdicts.push(verdict)
      if (found === undefined) continue
      taken.add(found)
      const ms = Math.max(place.ms, lines[found]?.atMs ?? 0)
      place = { at: Math.max(place.at, found + 1), ms }
    }
  }
  return verdicts
}

function judgeOne(
  expected: ExpectedEvent,
  lines: readonly Line[],
  begin: Place,
  taken: ReadonlySet<number>,
): { verdict: Verdict; found: number | undefined } {
  const { is, within, notBefore, from } = expected
  const what = describe(expected)
  const found = lines.findIndex(({ words }, at) => at >= begin.at && !taken.has(at) && doesMatch(is, words))
  const line = lines[found]
  if (line === undefined) {
    const earlier = lines.findLastIndex(({ words }) => doesMatch(is, words))
    const problem =
      earlier === -1 ? 'never came' : `came only at ${seconds(lines[earlier]?.atMs ?? 0)}, before its turn`
    return { verdict: { what, problem }, found: undefined }
  }
  const base = from === undefined ? begin.ms : lines.find(({ words }) => doesMatch(from, words))?.atMs
  if (base === undefined) return { verdict: { what, problem: `“${from ?? ''}” never came` }, found }
  const tookMs = line.atMs - base
  const came = `came after ${seconds(tookMs)}, at ${seconds(line.atMs)}`
  if (within !== undefined && tookMs > spanMs(within)) return { verdict: { what, problem: `${came}: too late` }, found }
  if (notBefore !== undefined && tookMs < spanMs(notBefore))
    return { verdict: { what, problem: `${came}: too early` }, found }
  return { verdict: { what, problem: null }, found }
}

function describe({ is, within, notBefore, from }: ExpectedEvent): string {
  const parts = [
    is,
    ...(within === undefined ? [] : [`within ${within}`]),
    ...(notBefore === undefined ? [] : [`not before ${notBefore}`]),
    ...(from === undefined ? [] : [`from “${from}” on`]),
  ]
  return parts.join(' ')
}

function judgeNever(nevers: NonNullable<Expectations['never']>, lines: readonly Line[]): Verdict[] {
  return nevers.map((each) => {
    const never: Never = typeof each === 'string' ? { is: each } : each
    const { is, before, after, moreThan = 0 } = never
    const first = (pattern: string): number => lines.findIndex(({ words }) => doesMatch(pattern, words))
    const end = before === undefined ? -1 : first(before)
    const begin = after === undefined ? 0 : first(after)
    const those = lines.filter(({ words }, at) => {
      return doesMatch(is, words) && (end === -1 || at < end) && begin !== -1 && at >= begin
    })
    const parts = [
      ...(before === undefined ? [] : [` before ${before}`]),
      ...(after === undefined ? [] : [` after ${after}`]),
      ...(moreThan === 0 ? [] : [`, more than ${moreThan} times`]),
    ]
    const offending = those[moreThan]
    const problem = offending === undefined ? null : `came at ${seconds(offending.atMs)}: ${offending.words.join(' ')}`
    return { what: `never ${is}${parts.join('')}`, problem }
  })
}

export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}
