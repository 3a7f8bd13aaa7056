/**
 * State machines as total tables: a missing cell fails to compile. A cell is the next state, or a refusal with its
 * reason.
 */
export interface Refusal<Reason extends string = string> {
  readonly no: Reason
}

/** A cell that says why this event is refused in this state. */
export function no<const Reason extends string>(reason: Reason): Refusal<Reason> {
  return { no: reason }
}

export type Table<State extends string, Event extends string, Reason extends string = string> = {
  readonly [S in State]: { readonly [E in Event]: State | Refusal<Reason> }
}

export type Step<State extends string> =
  { readonly ok: true; readonly to: State } | { readonly ok: false; readonly reason: string }

export interface StateMachine<State extends string, Event extends string> {
  readonly table: Table<State, Event>
  /** What this event does in this state. */
  step(state: State, event: Event): Step<State>
  /** The table as a Mermaid state diagram. */
  diagram(): string
}

export function machine<State extends string, Event extends string>(
  table: Table<State, Event>,
): StateMachine<State, Event> {
  return {
    table,
    step(state, event) {
      const cell: State | Refusal = table[state][event]
      return typeof cell === 'object' ? { ok: false, reason: cell.no } : { ok: true, to: cell }
    },
    diagram() {
      const lines = ['stateDiagram-v2']
      for (const state of Object.keys(table) as State[]) {
        for (const event of Object.keys(table[state]) as Event[]) {
          const cell = table[state][event]
          if (typeof cell === 'string') lines.push(`  ${state} --> ${cell}: ${event}`)
        }
      }
      return lines.join('\n')
    },
  }
}
