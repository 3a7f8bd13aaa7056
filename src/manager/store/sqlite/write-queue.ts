import type { WriteOp, WriteResult } from './protocol.ts'

interface Queued {
  readonly op: WriteOp
  readonly resolve: (result: WriteResult) => void
  readonly reject: (thrown: unknown) => void
}

/** Operations a transaction: bounds how long one is. */
const mostInBatch = 256

/** One batch is being written at a time; what comes meanwhile makes up the next. */
export class WriteQueue {
  readonly #write: (ops: readonly WriteOp[]) => Promise<readonly WriteResult[]>
  #queue: Queued[] = []
  #isBusy = false

  /** `write` must have applied a batch to memory when it resolves. */
  constructor(write: (ops: readonly WriteOp[]) => Promise<readonly WriteResult[]>) {
    this.#write = write
  }

  add(op: WriteOp): Promise<WriteResult> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ op, resolve, reject })
      if (!this.#isBusy) void this.#pump()
    })
  }

  async #pump(): Promise<void> {
    this.#isBusy = true
    while (this.#queue.length > 0) {
      const batch = this.#queue.slice(0, mostInBatch)
      this.#queue = this.#queue.slice(mostInBatch)
      try {
        const results = await this.#write(batch.map((queued) => queued.op))
        for (const [index, queued] of batch.entries()) queued.resolve(results[index] as WriteResult)
      } catch (thrown) {
        for (const queued of batch) queued.reject(thrown)
      }
    }
    this.#isBusy = false
  }
}
