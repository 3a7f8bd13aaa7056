/** What one check found. */
export interface Finding {
  /** Stable, for programs: `kvm`, `disk-space`. */
  readonly id: string
  readonly name: string
  readonly verdict: 'ok' | 'warning' | 'error'
  /** What was found, in words. */
  readonly detail: string
  /** What to do about it; absent when nothing needs to be done. */
  readonly mend?: string
}

/** A check gives one finding; what it throws becomes one too. */
export interface Check {
  readonly id: string
  readonly name: string
  readonly look: () => Promise<Omit<Finding, 'id' | 'name'>>
}

export function fine(detail: string): Omit<Finding, 'id' | 'name'> {
  return { verdict: 'ok', detail }
}

/** Works, with less than it could. */
export function warning(detail: string, mend: string): Omit<Finding, 'id' | 'name'> {
  return { verdict: 'warning', detail, mend }
}

/** Holdfast cannot work so. */
export function wrong(detail: string, mend: string): Omit<Finding, 'id' | 'name'> {
  return { verdict: 'error', detail, mend }
}
