/** Spans in which the QEMUs of one VM ran their vCPUs, and whether two ever did so at once. Pure. */

/** vCPUs of one QEMU ran from `from` until `until`, milliseconds of the machine's clock; no `until`: they run still. */
export interface RunSpan {
  readonly host: string
  readonly from: number
  until?: number
}

/** Two spans of different hosts that share a moment; undefined: there are none. `before`: of those that begin earlier alone. */
export function overlapOf(spans: readonly RunSpan[], before = Infinity): readonly [RunSpan, RunSpan] | undefined {
  /** Of each host the span that ends last, of those seen so far. */
  const last = new Map<string, RunSpan>()
  for (const span of spans.toSorted((a, b) => a.from - b.from)) {
    if (span.from >= before) break
    for (const earlier of last.values())
      if (earlier.host !== span.host && endOf(earlier) > span.from) return [earlier, span]
    const own = last.get(span.host)
    if (own === undefined || endOf(own) <= endOf(span)) last.set(span.host, span)
  }
  return undefined
}

export function endOf(span: RunSpan): number {
  return span.until ?? Infinity
}
