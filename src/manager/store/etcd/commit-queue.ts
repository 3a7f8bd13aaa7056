/**
 * Commits on their way to etcd. Those that wait while one transaction is under way go together in the next, as far as they
 * do not touch the same records and fit into one; each is a revision of its own all the same.
 */
import { HoldfastError } from '../../../base/errors.ts'
import type { PreparedChange, PreparedCommit } from '../prepared-commit.ts'
import { maxCommitBytes, type CommitResult, type Revision } from '../store.ts'
import type { Operation } from './etcd-client.ts'
import { entryText, recordText, type Keys } from './keys.ts'

export interface CommitTarget {
  readonly keys: Keys
  /** The newest revision that is known here. */
  readonly revision: () => Revision
  readonly revisionOf: (change: Pick<PreparedChange, 'kind' | 'id'>) => Revision
  /** Resolves when all is known here that was written before. */
  readonly upToDate: () => Promise<void>
  /** Writes on top of this revision; false: another has. */
  readonly write: (operations: readonly Operation[], on: Revision, by: string) => Promise<boolean>
  readonly onWritten: (commit: PreparedCommit, revision: Revision) => void
  readonly name: () => string
}

interface Waiting {
  readonly prepared: PreparedCommit
  readonly resolve: (result: CommitResult) => void
  readonly reject: (thrown: unknown) => void
  /** All that was written before it was asked for is known. */
  isSure: boolean
}

/** etcd takes 128 operations in one transaction. */
const mostOperations = 120

export class CommitQueue {
  readonly #target: CommitTarget
  #waiting: Waiting[] = []
  #isRunning = false
  #running: Promise<void> | undefined
  #isClosed = false

  constructor(target: CommitTarget) {
    this.#target = target
  }

  commit(prepared: PreparedCommit): Promise<CommitResult> {
    if (this.#isClosed) return Promise.reject(new HoldfastError('store-error', 'the inventory is closed'))
    return new Promise((resolve, reject) => {
      // What memory has may be old: a refusal, and a check without a write, rest on having looked.
      this.#waiting.push({ prepared, resolve, reject, isSure: false })
      if (this.#isRunning) return
      this.#isRunning = true
      this.#running = this.#run()
    })
  }

  /** Takes no more; resolves when those under way have ended. */
  async close(): Promise<void> {
    this.#isClosed = true
    await this.#running
  }

  async #run(): Promise<void> {
    // Those who ask in the same moment go together.
    await Promise.resolve()
    while (this.#waiting.length > 0) {
      const group: Waiting[] = []
      try {
        const needsLook = this.#gather(group)
        if (group.length > 0) await this.#write(group)
        else if (needsLook) await this.#look()
      } catch (thrown) {
        // What could not be asked, or written, is told to those whom it concerns; the others try for themselves.
        const failed = group.length > 0 ? group : this.#waiting.splice(0, 1)
        this.#waiting = this.#waiting.filter((each) => !failed.includes(each))
        for (const { reject } of failed) reject(thrown)
      }
    }
    this.#isRunning = false
  }

  /** Answers what needs no write, and takes what can be written together. Gives whether it must be looked first. */
  #gather(group: Waiting[]): boolean {
    const touched = new Set<string>()
    let [operations, bytes] = [1, 0]
    for (const waiting of [...this.#waiting]) {
      const { prepared, isSure } = waiting
      const names = prepared.changes.map(({ kind, id }) => `${kind}/${id}`)
      if (names.some((name) => touched.has(name))) return false
      const conflict = this.#conflictOf(prepared)
      if (conflict !== undefined || !prepared.isWrite) {
        if (!isSure) return true
        this.#waiting = this.#waiting.filter((each) => each !== waiting)
        waiting.resolve(conflict ?? { ok: true, revision: this.#target.revision() })
        continue
      }
      operations += prepared.changes.length + 1
      bytes += sizeOf(prepared)
      if (group.length > 0 && (operations > mostOperations || bytes > maxCommitBytes)) return false
      group.push(waiting)
      for (const name of names) touched.add(name)
    }
    return false
  }

  #conflictOf({ changes }: PreparedCommit): CommitResult | undefined {
    for (const { kind, id, expected } of changes) {
      const actual = this.#target.revisionOf({ kind, id })
      if (actual !== expected) return { ok: false, reason: 'conflict', kind, id, actual }
    }
    return undefined
  }

  async #look(): Promise<void> {
    const before = [...this.#waiting]
    await this.#target.upToDate()
    for (const waiting of before) waiting.isSure = true
  }

  async #write(group: readonly Waiting[]): Promise<void> {
    const { keys, revision, write, onWritten, name } = this.#target
    const [on, by] = [revision(), name()]
    const operations: Operation[] = [{ do: 'put', key: keys.head, value: String(on + group.length) }]
    for (const [at, { prepared }] of group.entries()) {
      const next = on + at + 1
      operations.push({ do: 'put', key: keys.commit(next), value: entryText(prepared, by) })
      operations.push(...recordOperations(keys, prepared, next))
    }
    if (!(await write(operations, on, by))) return await this.#look()
    this.#waiting = this.#waiting.filter((each) => !group.includes(each))
    for (const [at, { prepared, resolve }] of group.entries()) {
      onWritten(prepared, on + at + 1)
      resolve({ ok: true, revision: on + at + 1 })
    }
  }
}

function recordOperations(keys: Keys, { changes }: PreparedCommit, revision: Revision): Operation[] {
  return changes.flatMap(({ do: what, kind, id, json }): Operation[] => {
    if (what === 'check') return []
    const key = keys.record(kind, id)
    return [json === null ? { do: 'delete', key } : { do: 'put', key, value: recordText(revision, json) }]
  })
}

function sizeOf({ changes, events }: PreparedCommit): number {
  const texts = [...changes.map(({ json }) => json ?? ''), ...events]
  return texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0)
}
