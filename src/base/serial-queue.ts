import { HoldfastError } from './errors.ts'

/** Runs one piece of work at a time, in the order asked. A failure is its asker's; the next runs all the same. */
export class SerialQueue {
  #last: Promise<unknown> = Promise.resolve()
  #isClosed = false

  /** Rejects with `cancelled`, and does nothing, once the queue is closed. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const begin = (): Promise<T> => (this.#isClosed ? Promise.reject(closed()) : work())
    const result = this.#last.then(begin, begin)
    this.#last = result.catch(() => undefined)
    return result
  }

  /** Begins nothing more. */
  shut(): void {
    this.#isClosed = true
  }

  /** Begins nothing more; resolves when what runs has ended. */
  async close(): Promise<void> {
    this.shut()
    await this.#last
  }
}

function closed(): HoldfastError {
  return new HoldfastError('cancelled', 'nobody looks after this any more', { mend: 'Ask again.' })
}
