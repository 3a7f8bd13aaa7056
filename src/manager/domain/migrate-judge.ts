/**
 * What became of a migration: a pure verdict from the run record and what both hosts say, total over all combinations. It
 * never guesses: where neither proof nor confirmation is to be had, the verdict is `stuck` until the world changes.
 *
 * - The record `running{target}` is the commit. `running{source}` is the return.
 * - The source goes on only when the target has durably answered `discarded`, or the source's own agent proves that its
 *   stream never completed (`resume-source` without the proof of a discard leaves that to the agent).
 * - After `sent`, a target that answers `gone`, or that is confirmed off, may have run: the guest starts again from disk.
 *   If the disks moved too, the target's copies are the newer ones: they were whole before the stream completed.
 * - Once post-copy has begun, the loss of either side is a restart from disk, after both are known to be down.
 */
import type { HostId, TaskId } from '../../base/ids.ts'
import type { VmProcessState } from '../../contracts/host.ts'
import type { RunRecord } from '../../contracts/run-record.ts'

/** What is known of one side. */
export type Sight =
  /** It does not answer. */
  | { readonly at: 'unreachable' }
  /** A person or a fence device says that the host is off. */
  | { readonly at: 'off' }
  | {
      readonly at: 'seen'
      readonly process: VmProcessState
      /** Of the target: what it answered when it was told to discard, or `discarded` when its observation says so. */
      readonly answer: 'discarded' | 'running' | 'gone' | null
    }

export interface MigrationCase {
  readonly record: RunRecord
  readonly move: { readonly task: TaskId; readonly source: HostId; readonly target: HostId }
  readonly source: Sight
  readonly target: Sight
  /** How the source's job ended; `running` while it does, `none` when no such job is known. */
  readonly job: 'running' | 'sent' | 'not-sent' | 'unknown' | 'none'
  readonly runWhen: 'complete' | 'released'
  readonly movesDisks: boolean
  /** What goes on by itself has had its time: decide without it where that is safe. */
  readonly isOverdue: boolean
}

/** Whose copies of moved disks are the VM's from now on. */
export type DiskSide = 'source' | 'target'

export type Judgement =
  | { readonly is: 'committed' }
  | { readonly is: 'not-committed'; readonly code: 'returned' | 'lost' | 'superseded'; readonly reason: string }
  /** Something is under way that will decide it: look again soon. */
  | { readonly is: 'follow' }
  | { readonly is: 'discard-target' }
  | { readonly is: 'release-target' }
  | { readonly is: 'resume-source'; readonly targetDiscarded: boolean }
  /** Neither side can go on: the record becomes `stopped`, to be started again from disk. */
  | { readonly is: 'give-up'; readonly event: 'lost' | 'fenced'; readonly disks: DiskSide }
  | { readonly is: 'stuck'; readonly reason: string; readonly runbook: string }

const follow: Judgement = { is: 'follow' }
const discardTarget: Judgement = { is: 'discard-target' }

const stuck = (reason: string): Judgement => ({ is: 'stuck', reason, runbook: 'migration-stuck' })
const giveUp = (event: 'lost' | 'fenced', disks: DiskSide = 'source'): Judgement => ({ is: 'give-up', event, disks })

/** The verdict, or the next act that brings it nearer. */
export function judgeMigration(view: MigrationCase): Judgement {
  const { record, move } = view
  switch (record.phase) {
    case 'running':
      if (record.host === move.target) return { is: 'committed' }
      return { is: 'not-committed', code: 'returned', reason: 'the guest runs on where it was' }
    case 'stopped':
      // It arrived, and was stopped since.
      if (record.host === move.target) return { is: 'committed' }
      return { is: 'not-committed', code: 'lost', reason: `the VM is stopped (${record.cause ?? 'no cause'})` }
    case 'unknown':
      return { is: 'stuck', reason: 'the inventory was restored during the move', runbook: 'store-restored' }
    case 'moving':
      break
  }
  if (record.task !== move.task) {
    return { is: 'not-committed', code: 'superseded', reason: 'another operation has taken the VM over' }
  }
  return record.postCopy ? judgePostCopy(view) : judgePreCopy(view)
}

function judgePreCopy(view: MigrationCase): Judgement {
  const { target } = view
  if (target.at === 'off') return whenTargetIsDown(view, 'fenced')
  if (target.at === 'unreachable') return whenTargetIsSilent(view)
  if (target.answer === 'discarded') return whenDiscarded(view)
  if (target.answer === 'gone') return whenTargetIsDown(view, 'lost')
  switch (target.process) {
    case 'running':
    case 'paused':
      return follow
    case 'incoming-complete':
      return view.runWhen === 'complete' ? follow : whenHeld(view)
    case 'incoming':
      return whenIncoming(view)
    case 'none':
    case 'prelaunch':
    case 'outgoing':
    case 'sent':
    case 'second':
    case 'failed':
      return discardTarget
  }
}

/** The target holds the whole state and waits until the source surely cannot go on. */
function whenHeld({ source, job, isOverdue }: MigrationCase): Judgement {
  const release: Judgement = { is: 'release-target' }
  if (source.at === 'off' || job === 'sent') return release
  if (source.at === 'unreachable') return stuck('the target holds the whole state, and the source does not answer')
  switch (source.process) {
    case 'sent':
    case 'none':
    case 'failed':
      return release
    case 'running':
    case 'paused':
      return job === 'running' && !isOverdue ? follow : discardTarget
    default:
      return isOverdue ? discardTarget : follow
  }
}

function whenIncoming({ source, job, isOverdue }: MigrationCase): Judgement {
  if (source.at === 'off') return discardTarget
  // The stream may well complete without us.
  if (source.at === 'unreachable') return isOverdue ? discardTarget : follow
  switch (source.process) {
    case 'outgoing':
      return follow
    case 'running':
    case 'paused':
      return job === 'running' ? follow : discardTarget
    case 'sent':
      return isOverdue ? discardTarget : follow
    default:
      // It had sent everything before it ended: the target may be about to run.
      return job === 'sent' && !isOverdue ? follow : discardTarget
  }
}

/** The target has promised, durably, never to run what this move brought. */
function whenDiscarded({ source }: MigrationCase): Judgement {
  if (source.at === 'off') return giveUp('lost')
  if (source.at === 'unreachable') return stuck('the target has discarded the move, and the source does not answer')
  switch (source.process) {
    case 'outgoing':
    case 'sent':
    case 'paused':
    case 'running':
      return { is: 'resume-source', targetDiscarded: true }
    default:
      return giveUp('lost')
  }
}

/**
 * The target is down without having promised anything: it may have run for a while. `lost`: its QEMU is gone; `fenced`:
 * the host is confirmed off.
 */
function whenTargetIsDown(view: MigrationCase, event: 'lost' | 'fenced'): Judgement {
  const { source, job } = view
  if (source.at === 'unreachable') {
    return stuck(`the target is ${event === 'lost' ? 'gone' : 'confirmed off'}, and the source does not answer`)
  }
  if (source.at === 'seen') {
    switch (source.process) {
      case 'running':
      case 'paused':
      case 'outgoing':
        return { is: 'resume-source', targetDiscarded: false }
      case 'sent':
        return giveUp(event, view.movesDisks ? 'target' : 'source')
      default:
        break
    }
  }
  return bothDown(view, event, job)
}

/** Both sides are down. Which copies of moved disks are the newer ones depends on whether the stream completed. */
function bothDown(view: MigrationCase, event: 'lost' | 'fenced', job: MigrationCase['job']): Judgement {
  if (!view.movesDisks) return giveUp(event)
  if (job === 'sent') return giveUp(event, 'target')
  if (job === 'not-sent') return giveUp(event, 'source')
  return {
    is: 'stuck',
    reason: 'both sides are down, and nobody knows whether the guest had begun to run with the disks on the target',
    runbook: 'migration-disks-undecided',
  }
}

function whenTargetIsSilent({ source, job }: MigrationCase): Judgement {
  if (source.at !== 'seen') return stuck('neither the source nor the target answers')
  switch (source.process) {
    case 'outgoing':
      return follow
    case 'running':
    case 'paused':
      return job === 'running' ? follow : { is: 'resume-source', targetDiscarded: false }
    case 'sent':
      return stuck('the source has sent everything, and the target does not answer')
    default:
      return stuck('the guest does not run at the source any more, and the target does not answer')
  }
}

function judgePostCopy(view: MigrationCase): Judgement {
  const { source, target, isOverdue } = view
  if (target.at === 'off') {
    if (source.at === 'unreachable') return stuck('the target is confirmed off, and the source does not answer')
    return giveUp('fenced')
  }
  const sourceSends = source.at === 'seen' && (source.process === 'outgoing' || source.process === 'sent')
  if (target.at === 'unreachable')
    return sourceSends ? follow : stuck('post-copy had begun, and the target does not answer')
  if (target.answer === 'discarded' || target.answer === 'gone') {
    if (source.at === 'unreachable')
      return stuck('post-copy had begun, the target is down, and the source does not answer')
    return giveUp('lost')
  }
  switch (target.process) {
    case 'running':
    case 'paused':
    case 'incoming':
    case 'incoming-complete':
      return sourceSends || source.at === 'unreachable' || !isOverdue ? follow : discardTarget
    default:
      return discardTarget
  }
}
