/**
 * How an operation is written: named, versioned steps with undo, each output persisted before the next step runs.
 *
 * - `do` and `undo` are idempotent: after a crash, or a lost reply, they run again.
 * - `undo` of a step runs for every step that was begun, the one that failed too (its `output` is then undefined).
 * - A `do` that throws an error whose outcome is unknown (`unreachable`, `timeout`) is run again with growing pauses until
 *   it answers, the operation is cancelled, or the step's `patienceMs` is over; never is anything undone on unknown
 *   without asking first (that is what `undo`, being idempotent and asking the host, does).
 * - The commit step is the point of no return. When its outcome is unknown, and after a crash in it, `settle` asks the
 *   hosts and judges: `committed`, `not-committed`, or `stuck` (said with a runbook; tried again when the world changes).
 * - Steps after the commit are only done, never undone; they are tried until they succeed.
 */
import type { TaskId } from '../../base/ids.ts'
import type { JobProgress } from '../../contracts/agent-api.ts'
import type { TaskRecord } from '../store/records.ts'
import type { NewEvent } from '../store/store.ts'

export interface StepContext<Params, Done, Deps> {
  readonly task: TaskId
  readonly params: Params
  /** Outputs of the steps before this one, by name. */
  readonly done: Done
  readonly deps: Deps
  /** Aborted when the task is cancelled; a step after the commit never sees it aborted. */
  readonly signal: AbortSignal
  /** How far this step is, 0–1, and what to show. Kept in memory only. */
  readonly progress: (fraction: number, detail?: Partial<JobProgress>) => void
}

export interface Step<Name extends string, Params, Done, Deps, Output> {
  readonly name: Name
  /** Share of the whole in the progress bar; default 1. */
  readonly weight?: number
  /** How long an unknown outcome is asked after before the step counts as failed; default 60 000. */
  readonly patienceMs?: number
  do(context: StepContext<Params, Done, Deps>): Promise<Output>
  undo?(context: StepContext<Params, Done, Deps> & { readonly output: Output | undefined }): Promise<void>
}

export type Verdict<Output> =
  | { readonly verdict: 'committed'; readonly output: Output }
  | { readonly verdict: 'not-committed'; readonly code: string; readonly reason: string }
  /** `runbook` names a file in docs/runbooks, without `.md`. */
  | { readonly verdict: 'stuck'; readonly reason: string; readonly runbook: string }

export interface CommitStep<Name extends string, Params, Done, Deps, Output> {
  readonly name: Name
  readonly weight?: number
  /** Unlike a step's, an unknown outcome here is settled at once. */
  do(context: StepContext<Params, Done, Deps>): Promise<Output>
  /**
   * Asks the hosts what became of it. `signal` never aborts here, so that asking works; `cancelWish` aborts when the task
   * is cancelled: pass the wish on to the far side if it still works, then judge what is.
   */
  settle(context: StepContext<Params, Done, Deps> & { readonly cancelWish: AbortSignal }): Promise<Verdict<Output>>
}

/** A definition as the engine sees it: untyped inside, made only by the builder below. */
export interface SagaDefinition<Params, Deps, Result> {
  /** `vm.migrate/1`. An upgraded manager keeps old versions until none of their tasks is open. */
  readonly name: string
  readonly steps: readonly AnyStep[]
  readonly resultOf: (done: Record<string, unknown>) => Result
  /** Events of the saga's own, written in the same commit as the task's end. */
  readonly eventsOf?: (end: SagaEnd<Params>) => readonly NewEvent[]
  /** Where the manager began it by itself, it is called off for what somebody asks of its target; it is begun again later. */
  readonly givesWay: boolean
  /** Only carries types. */
  readonly types?: { params: Params; deps: Deps }
}

/** How a task ended, for the events that the saga adds to its end. */
export interface SagaEnd<Params> {
  readonly task: TaskId
  readonly params: Params
  readonly state: 'done' | 'failed' | 'cancelled'
  /** Outputs by step. */
  readonly done: Record<string, unknown>
  readonly problem: TaskRecord['problem']
}

export type AnyStep =
  | ({ readonly kind: 'step' } & Step<string, unknown, unknown, unknown, unknown>)
  | ({ readonly kind: 'commit' } & CommitStep<string, unknown, unknown, unknown, unknown>)

type With<Done, Name extends string, Output> = Done & { readonly [K in Name]: Output }

export interface SagaBuilder<Params, Deps, Done> {
  step<const Name extends string, Output>(
    step: Step<Name, Params, Done, Deps, Output>,
  ): SagaBuilder<Params, Deps, With<Done, Name, Output>>
  commit<const Name extends string, Output>(
    step: CommitStep<Name, Params, Done, Deps, Output>,
  ): SagaBuilder<Params, Deps, With<Done, Name, Output>>
  /** Ends the definition; what it returns is the task's result. `events` are added to the commit that ends the task. */
  result<Result extends Record<string, unknown> | null>(
    of: (done: Done) => Result,
    events?: (end: SagaEnd<Params>) => readonly NewEvent[],
  ): SagaDefinition<Params, Deps, Result>
}

/** Begins the definition of a saga. Reading the output of a later step does not compile. */
export function saga<Params, Deps>(
  name: string,
  { givesWay = false }: { readonly givesWay?: boolean } = {},
): SagaBuilder<Params, Deps, unknown> {
  return builder({ name, givesWay }, [])
}

function builder<Params, Deps, Done>(
  head: Pick<SagaDefinition<never, never, never>, 'name' | 'givesWay'>,
  steps: readonly AnyStep[],
): SagaBuilder<Params, Deps, Done> {
  return {
    step: (step) => builder(head, [...steps, { kind: 'step', ...step } as unknown as AnyStep]),
    commit: (step) => builder(head, [...steps, { kind: 'commit', ...step } as unknown as AnyStep]),
    result: (of, events) => ({
      ...head,
      steps,
      resultOf: of as (done: Record<string, unknown>) => never,
      ...(events === undefined ? {} : { eventsOf: events }),
    }),
  }
}
