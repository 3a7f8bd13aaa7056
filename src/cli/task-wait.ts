/**
 * Following a task to its end. The manager may restart in the middle: a task outlives it, so the wait goes on. Ctrl-C never
 * leaves a person in doubt: it asks what to do, and what is not cancelled goes on in the manager.
 */
import { HoldfastError, isErrorCode } from '../base/errors.ts'
import type { Clock } from '../base/clock.ts'
import type { Task } from '../contracts/inventory.ts'
import type { Cli } from './cli.ts'
import type { Session } from './connection/session.ts'
import { Exit, exitCodes } from './exit-codes.ts'
import { ProgressView } from './output/progress.ts'

export interface WaitFlags {
  /** `--no-wait` makes it false. */
  readonly wait: boolean
  /** Seconds after which to stop waiting (the task goes on). */
  readonly timeout?: number
  readonly cancelOnInterrupt?: boolean
}

/** How long a manager may be out of reach before the wait is given up. */
const patienceMs = 120_000

/** Waits for the end of a task and gives it back as it ended; throws its problem where it did not succeed. */
export async function waitForTask(cli: Cli, session: Session, task: Task, flags: WaitFlags): Promise<Task> {
  const { clock } = await cli.ports()
  const view = new ProgressView(cli.terminal)
  const stop = new AbortController()
  const asker = new InterruptAsker(cli, session, task, flags, view)
  using _interrupt = cli.terminal.onInterrupt(() => asker.interrupted(stop))
  using _deadline =
    flags.timeout === undefined ? noTimer : clock.timer(flags.timeout * 1000, () => stop.abort(timedOut(task, flags)))
  try {
    return outcomeOf(
      await followTask(session, task, { clock, view, signal: stop.signal, isTty: cli.terminal.isErrTty }),
    )
  } catch (thrown) {
    if (stop.signal.aborted) throw stop.signal.reason
    throw thrown
  } finally {
    view.clear()
  }
}

const noTimer: Disposable = { [Symbol.dispose]: () => undefined }

function timedOut(task: Task, flags: WaitFlags): HoldfastError {
  return new HoldfastError('timeout', `${task.id} has not ended within ${flags.timeout ?? 0} s; it goes on`, {
    task: task.id,
    mend: followHint(task.id),
  })
}

function followHint(task: string): string {
  return `Follow it with \`holdfast task wait ${task}\`, or end it with \`holdfast task cancel ${task}\`.`
}

interface Following {
  readonly clock: Clock
  readonly view: ProgressView
  readonly signal: AbortSignal
  readonly isTty: boolean
}

/** Asks until the task has ended. On a terminal often, for the picture; else the manager answers when there is news. */
async function followTask(session: Session, first: Task, following: Following): Promise<Task> {
  const { clock, view, signal, isTty } = following
  let task = first
  let lostAtMs: number | undefined
  while (!hasEnded(task)) {
    signal.throwIfAborted()
    view.update(task)
    try {
      if (isTty) await clock.sleep(150, signal)
      const query = { waitSeconds: isTty ? 0 : 1 }
      task = await session.client.call('getTask', { params: { task: task.id }, query }, { signal })
      lostAtMs = undefined
    } catch (thrown) {
      if (signal.aborted || !(thrown instanceof HoldfastError) || !thrown.isUnknown) throw thrown
      lostAtMs ??= clock.monotonic()
      if (clock.monotonic() - lostAtMs > patienceMs) throw lostFor(thrown, task)
      view.note('the manager is out of reach; the task goes on there, asking again')
      await clock.sleep(1000, signal)
    }
  }
  return task
}

function lostFor(cause: HoldfastError, task: Task): HoldfastError {
  return new HoldfastError('unreachable', `how ${task.id} went is not known`, { mend: followHint(task.id) }, { cause })
}

export function hasEnded(task: Task): boolean {
  return task.state !== 'running' && task.state !== 'undoing'
}

/** A task that ended well; throws what kept the others from it. */
export function outcomeOf(task: Task): Task {
  if (task.state === 'done') return task
  const { problem } = task
  const code = isErrorCode(problem?.code) ? problem.code : task.state === 'cancelled' ? 'cancelled' : 'internal'
  const what = task.state === 'stuck' ? `${task.id} is stuck and needs a person` : `${task.id} ${task.state}`
  throw new HoldfastError(code, problem === null ? what : `${what}: ${problem.detail}`, {
    ...problem?.details,
    task: task.id,
    ...(problem?.mend === undefined ? {} : { mend: problem.mend }),
  })
}

/** What Ctrl-C does while a task is followed. */
class InterruptAsker {
  readonly #cli: Cli
  readonly #session: Session
  readonly #task: Task
  readonly #flags: WaitFlags
  readonly #view: ProgressView
  #isAsking = false

  constructor(cli: Cli, session: Session, task: Task, flags: WaitFlags, view: ProgressView) {
    this.#cli = cli
    this.#session = session
    this.#task = task
    this.#flags = flags
    this.#view = view
  }

  interrupted(stop: AbortController): void {
    if (this.#flags.cancelOnInterrupt === true) return void this.#cancel(stop)
    // A second Ctrl-C, or nobody to ask: leave at once.
    if (this.#isAsking || !this.#cli.terminal.isInTty || !this.#cli.terminal.isErrTty) return this.#leave(stop)
    void this.#ask(stop)
  }

  async #ask(stop: AbortController): Promise<void> {
    this.#isAsking = true
    const held = this.#view.hold()
    const question = `${this.#task.id} goes on in the manager. [l]eave it, [c]ancel it, or [w]ait on? `
    const answer = (await this.#cli.terminal.ask(question))?.trim().toLowerCase() ?? 'l'
    this.#isAsking = false
    held[Symbol.dispose]()
    if (answer.startsWith('w')) return
    if (answer.startsWith('c')) return this.#cancel(stop)
    this.#leave(stop)
  }

  #leave(stop: AbortController): void {
    this.#view.note(`${this.#task.id} goes on. ${followHint(this.#task.id)}`)
    stop.abort(new Exit(exitCodes.interrupted))
  }

  async #cancel(stop: AbortController): Promise<void> {
    try {
      await this.#session.change('cancelTask', { params: { task: this.#task.id }, body: {} })
      this.#view.note(`${this.#task.id} is being cancelled.`)
    } catch (thrown) {
      const why = thrown instanceof Error ? thrown.message : String(thrown)
      this.#view.note(`${this.#task.id} cannot be cancelled: ${why}. It goes on. ${followHint(this.#task.id)}`)
    }
    stop.abort(new Exit(exitCodes.interrupted))
  }
}
