/** The thread that owns the inventory's file: takes one request after the other, answers each. */
import { parentPort } from 'node:worker_threads'
import { HoldfastError } from '../../../base/errors.ts'
import { Database } from './database.ts'
import { isFull, problemOf } from './problems.ts'
import type { OpenOptions, Reply, Request, Verb, Verbs, WriteOp, WriteResult } from './protocol.ts'
import { readCommits, readEvents, readRecords } from './read-log.ts'
import { BatchWriter } from './write-batch.ts'

let options: OpenOptions | undefined
let database: Database | undefined
let writer: BatchWriter | undefined

type Handlers = {
  readonly [V in Verb]: (takes: Verbs[V]['takes']) => Verbs[V]['answers'] | Promise<Verbs[V]['answers']>
}

const handlers: Handlers = {
  open(takes) {
    open(takes)
    return opened().opened()
  },
  records: (takes) => readRecords(opened().sql, takes),
  write,
  commits: (takes) => readCommits(opened().sql, takes),
  events: (takes) => readEvents(opened().sql, takes),
  settings: () => opened().settings(),
  async backup({ to }) {
    // Loaded when it is wanted: a manager rarely does this.
    const { makeBackup } = await import('./backup.ts')
    return makeBackup(opened(), to)
  },
  async restore(takes) {
    const { restoreBackup } = await import('./backup.ts')
    open(takes)
    return restoreBackup(opened(), takes)
  },
  close() {
    database?.[Symbol.dispose]()
    database = undefined
    return null
  },
}

function opened(): Database {
  if (database === undefined) throw new HoldfastError('store-error', 'the inventory is not open')
  return database
}

function open(takes: OpenOptions): void {
  options = takes
  database?.[Symbol.dispose]()
  database = undefined
  database = Database.open(takes)
  writer = new BatchWriter(database)
}

/**
 * When a flush fails nobody knows what is on the device: the file is opened anew, which reads what is really there, and
 * the revision says whether the batch is.
 */
function write(ops: readonly WriteOp[]): readonly WriteResult[] {
  if (writer === undefined) throw new HoldfastError('store-error', 'the inventory is not open')
  const inventory = opened()
  const before = inventory.meta('revision')
  try {
    return writer.write(ops)
  } catch (thrown) {
    if (!isFull(thrown)) {
      inventory.reopen()
      writer = new BatchWriter(inventory)
    }
    const after = inventory.meta('revision')
    if (after < before) throw lostCommits(inventory, thrown)
    throw after === before ? thrown : unknownOutcome(thrown)
  }
}

/** The disk has lost what it had said was flushed. Nothing may be built on it: the inventory is closed for good. */
function lostCommits(inventory: Database, cause: unknown): HoldfastError {
  inventory[Symbol.dispose]()
  database = undefined
  const mend = 'Check the disk, then restore the newest backup with holdfast manager restore.'
  return new HoldfastError('store-error', 'the disk has lost commits that it had flushed', { mend }, { cause })
}

/** Written after all, though the outcomes of its parts are lost: the caller asks the records. */
function unknownOutcome(cause: unknown): HoldfastError {
  return new HoldfastError('unreachable', 'the disk failed while a commit was being written', {}, { cause })
}

async function answer<V extends Verb>(request: Request<V>): Promise<Reply> {
  try {
    return { id: request.id, ok: true, answers: await handlers[request.verb](request.takes) }
  } catch (thrown) {
    return { id: request.id, ok: false, problem: problemOf(thrown, options?.path ?? 'of this manager') }
  }
}

parentPort?.on('message', (request: Request) => {
  void answer(request).then((reply) => parentPort?.postMessage(reply))
})
