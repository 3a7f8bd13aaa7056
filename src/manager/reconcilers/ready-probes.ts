/**
 * Asks the hosts of VMs that others wait for whether they are ready. In the background: a host that answers late keeps nobody
 * else waiting. What was ready once counts as ready for that life of the VM.
 */
import { describeError } from '../../base/errors.ts'
import type { VmDependency } from '../../contracts/restart.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import type { ReconcilerDeps } from './deps.ts'
import { RepeatLimit } from './repeat-limit.ts'

const askEveryMs = 2000

export class ReadyProbes {
  readonly #deps: Pick<ReconcilerDeps, 'hosts' | 'clock' | 'log'>
  readonly #limit: RepeatLimit<string>
  readonly #asking = new Set<string>()
  readonly #ready = new Map<string, number>()

  constructor(deps: Pick<ReconcilerDeps, 'hosts' | 'clock' | 'log'>) {
    this.#deps = deps
    this.#limit = new RepeatLimit(deps.clock, askEveryMs)
  }

  isReady(run: RunRecord, dependency: VmDependency): boolean {
    return this.#ready.has(keyOf(run, dependency))
  }

  /** Asks, when it was not asked a moment ago. The answer counts from the next look on. */
  ask(run: RunRecord, dependency: VmDependency): void {
    const { ready: kind, port } = dependency
    const key = keyOf(run, dependency)
    if (run.host === null || kind === 'running' || this.#asking.has(key) || !this.#limit.take(key)) return
    this.#asking.add(key)
    void this.#deps.hosts
      .agent(run.host)
      .probe(run.vm, port === undefined ? { kind } : { kind, port })
      .then(({ isReady, problem }) => {
        if (isReady) this.#note(key)
        else this.#deps.log.debug({ vm: run.vm, problem }, 'a VM that others wait for is not ready yet')
      })
      .catch((err: unknown) => {
        this.#deps.log.debug({ vm: run.vm, reason: describeError(err) }, 'a host does not say whether a VM is ready')
      })
      .finally(() => this.#asking.delete(key))
  }

  #note(key: string): void {
    const now = this.#deps.clock.monotonic()
    this.#ready.set(key, now)
    // An hour later nobody waits for that life of it.
    for (const [old, at] of this.#ready) if (now - at > 3_600_000) this.#ready.delete(old)
  }
}

/** A VM that runs anew has to become ready anew. */
function keyOf(run: RunRecord, { ready, port }: VmDependency): string {
  return `${run.vm}/${run.generation}/${ready}/${port ?? ''}`
}
