/** What the store and its worker thread say to each other. Plain data; records travel as text. */
import type { ObjectKind } from '../../../base/ids.ts'
import type { ErrorDetails, ErrorCode } from '../../../base/errors.ts'
import type { PreparedCommit } from '../prepared-commit.ts'
import type { Kind } from '../records.ts'
import type { CommitResult, Lease, Revision } from '../store.ts'

export interface OpenOptions {
  readonly path: string
  /** Written beside the lock, for whoever is refused. */
  readonly pid: number
  /** Refuses to grow beyond (pages of 4 KiB); 0: no bound. For tests of a full disk. */
  readonly maxPages: number
}

export interface Opened {
  readonly revision: Revision
  readonly oldest: Revision
  readonly incarnation: number
  readonly leases: readonly Lease[]
}

export interface RecordRow {
  readonly kind: Kind
  readonly id: string
  readonly revision: Revision
  readonly json: string
}

/** A commit as it was written: changes with their text (null: removed), events likewise. */
export interface CommitRow {
  readonly revision: Revision
  readonly changes: readonly { readonly kind: Kind; readonly id: string; readonly json: string | null }[]
  readonly events: readonly string[]
}

export interface EventRow {
  readonly revision: Revision
  readonly sequence: number
  readonly json: string
}

export type WriteOp =
  | { readonly op: 'commit'; readonly prepared: PreparedCommit }
  | { readonly op: 'next-id'; readonly kind: ObjectKind }
  | { readonly op: 'lease'; readonly lease: Lease }
  | { readonly op: 'unlease'; readonly id: string }
  | { readonly op: 'compact'; readonly before: Revision }

/** The outcome of one operation of a batch; `number` is the id's number, or the oldest revision kept. */
export type WriteResult =
  | { readonly kind: 'commit'; readonly result: CommitResult }
  | { readonly kind: 'number'; readonly number: number }
  | { readonly kind: 'failed'; readonly problem: Problem }

export interface Problem {
  readonly code: ErrorCode
  readonly message: string
  readonly details: ErrorDetails
}

export interface Settings {
  readonly journalMode: string
  /** 2 is FULL: every commit is on the device before it is acknowledged. */
  readonly synchronous: number
  readonly walAutocheckpoint: number
}

/** The worker's verbs: what each takes and answers. */
export interface Verbs {
  open: { takes: OpenOptions; answers: Opened }
  records: { takes: { afterKind: string; afterId: string; limit: number }; answers: readonly RecordRow[] }
  write: { takes: readonly WriteOp[]; answers: readonly WriteResult[] }
  commits: { takes: { after: Revision; limit: number }; answers: readonly CommitRow[] }
  events: { takes: { revision: Revision; sequence: number; limit: number }; answers: readonly EventRow[] }
  settings: { takes: null; answers: Settings }
  backup: { takes: { to: string }; answers: null }
  restore: {
    takes: OpenOptions & { from: string; now: string }
    answers: { incarnation: number; revision: Revision; records: number }
  }
  close: { takes: null; answers: null }
}

export type Verb = keyof Verbs

export interface Request<V extends Verb = Verb> {
  readonly id: number
  readonly verb: V
  readonly takes: Verbs[V]['takes']
}

export type Reply =
  | { readonly id: number; readonly ok: true; readonly answers: unknown }
  | { readonly id: number; readonly ok: false; readonly problem: Problem }
