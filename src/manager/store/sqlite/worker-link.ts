import { Worker } from 'node:worker_threads'
import { HoldfastError } from '../../../base/errors.ts'
import type { Logger } from '../../../base/log.ts'
import { errorOf } from './problems.ts'
import type { Reply, Verb, Verbs } from './protocol.ts'

interface Waiting {
  readonly resolve: (answers: unknown) => void
  readonly reject: (error: HoldfastError) => void
}

/** The main thread's end of the worker. A worker that dies makes every call fail: the manager is then restarted. */
export class WorkerLink implements AsyncDisposable {
  readonly #worker: Worker
  readonly #waiting = new Map<number, Waiting>()
  #next = 1
  #dead: HoldfastError | undefined

  constructor(logger: Logger) {
    // A release is JavaScript, a checkout TypeScript: the worker is what this file is.
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
    this.#worker = new Worker(new URL(`./worker.${extension}`, import.meta.url), {
      name: 'holdfast-store',
      // It turns small messages into small writes: room for more young objects than this would only be kept.
      resourceLimits: { maxYoungGenerationSizeMb: 4 },
    })
    this.#worker.on('message', (reply: Reply) => this.#receive(reply))
    this.#worker.on('error', (err) => {
      logger.error({ err }, "the inventory's thread has failed")
      this.#fail(err)
    })
    this.#worker.on('exit', () => this.#fail(undefined))
  }

  call<V extends Verb>(verb: V, takes: Verbs[V]['takes']): Promise<Verbs[V]['answers']> {
    if (this.#dead !== undefined) return Promise.reject(this.#dead)
    const id = this.#next++
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (answers: unknown) => void, reject })
      this.#worker.postMessage({ id, verb, takes })
    })
  }

  /** Closes the file and ends the thread. What was asked before is still answered. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#dead !== undefined) return
    await this.call('close', null).catch(() => undefined)
    await this.#worker.terminate()
  }

  #receive(reply: Reply): void {
    const waiting = this.#waiting.get(reply.id)
    this.#waiting.delete(reply.id)
    if (reply.ok) waiting?.resolve(reply.answers)
    else waiting?.reject(errorOf(reply.problem))
  }

  #fail(cause: unknown): void {
    const mend = 'Restart the manager.'
    // A request under way may have been carried out: its outcome is unknown. A later one surely was not.
    const lost = new HoldfastError('unreachable', "the inventory's thread has ended", { mend }, { cause })
    this.#dead ??= new HoldfastError('store-error', "the inventory's thread has ended", { mend }, { cause })
    for (const waiting of this.#waiting.values()) waiting.reject(lost)
    this.#waiting.clear()
  }
}
