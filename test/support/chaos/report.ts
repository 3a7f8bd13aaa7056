/** What a run of strikes came to: a line each, a table of their kinds, and all figures for programs. Pure. */

export interface Struck {
  readonly kind: string
  /** Whom. */
  readonly what: string
  readonly isFenced: boolean
  /** From the strike until it was healed, and from then until all was whole, milliseconds. */
  readonly heldMs: number
  readonly wholeMs: number
  /** Of each VM's client, the longest silence, milliseconds. */
  readonly silencesMs: Readonly<Record<string, number>>
  /** VMs that were started again. */
  readonly restarted: readonly string[]
  /** How long the striking program itself had no turn at most: what the machine was short of. */
  readonly starvedMs: number
}

const seconds = (ms: number): string => (ms / 1000).toFixed(1)

export function strikeLine({
  kind,
  what,
  isFenced,
  heldMs,
  wholeMs,
  silencesMs,
  restarted,
  starvedMs,
}: Struck): string {
  const silences = Object.entries(silencesMs).map(([vm, ms]) => `${vm} ${seconds(ms)}`)
  return [
    `${kind} (${what}; ${isFenced ? 'fenced' : 'leases alone'})`,
    `held ${seconds(heldMs)} s, whole ${seconds(wholeMs)} s after`,
    `longest silence, s: ${silences.join(', ')}`,
    ...(restarted.length === 0 ? [] : [`started again: ${restarted.join(', ')}`]),
    ...(starvedMs < 500 ? [] : [`the machine was short of time: ${seconds(starvedMs)} s`]),
  ].join('; ')
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0
}

/** For each kind: how often, until all was whole after it was healed, and the longest silence of any VM. */
export function table(strikes: readonly Struck[]): string {
  const kinds = [...new Set(strikes.map(({ kind }) => kind))].toSorted()
  const rows = kinds.map((kind) => {
    const own = strikes.filter((strike) => strike.kind === kind)
    const whole = own.map(({ wholeMs }) => wholeMs)
    const silence = own.map(({ silencesMs }) => Math.max(0, ...Object.values(silencesMs)))
    const figures = [median(whole), Math.max(...whole), median(silence), Math.max(...silence)].map(seconds)
    return [kind, String(own.length), ...figures]
  })
  const head = ['strike', 'count', 'whole s', 'worst', 'silence s', 'worst']
  const lines = [head, ...rows]
  const widths = head.map((_, at) => Math.max(...lines.map((line) => line[at]?.length ?? 0)))
  const pad = (text: string, at: number): string =>
    at === 0 ? text.padEnd(widths[at] ?? 0) : text.padStart(widths[at] ?? 0)
  return lines.map((line) => line.map(pad).join('  ')).join('\n')
}
