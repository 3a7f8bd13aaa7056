import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { HostId, TaskId } from '../../base/ids.ts'
import { vmProcessStates } from '../../contracts/host.ts'
import { aRun } from './cluster-fixture.ts'
import { judgeMigration, type Judgement, type MigrationCase, type Sight } from './migrate-judge.ts'

const [source, target, task] = ['host-1' as HostId, 'host-2' as HostId, 'task-1' as TaskId]
const moving = aRun({ phase: 'moving', host: source, target, task, cause: null, generation: 5 })
const seen = (
  process: (typeof vmProcessStates)[number],
  answer: 'discarded' | 'running' | 'gone' | null = null,
): Sight => ({ at: 'seen', process, answer })
const silent: Sight = { at: 'unreachable' }
const off: Sight = { at: 'off' }

function judge(change: Partial<MigrationCase>): Judgement {
  return judgeMigration({
    record: moving,
    move: { task, source, target },
    source: seen('outgoing'),
    target: seen('incoming'),
    job: 'none',
    runWhen: 'complete',
    movesDisks: false,
    isOverdue: false,
    ...change,
  })
}

test('the record alone decides when it is no longer moving', () => {
  const run = (change: Partial<typeof moving>) => judge({ record: { ...moving, target: null, task: null, ...change } })
  assert.equal(run({ phase: 'running', host: target }).is, 'committed')
  assert.equal(run({ phase: 'running', host: source }).is, 'not-committed')
  assert.equal(run({ phase: 'stopped', host: target, cause: 'guest-shutdown' }).is, 'committed')
  assert.equal(run({ phase: 'stopped', host: source, cause: 'lost-in-move' }).is, 'not-committed')
  assert.equal(run({ phase: 'unknown' }).is, 'stuck')
  assert.equal(judge({ record: { ...moving, task: 'task-9' as TaskId } }).is, 'not-committed')
})

const table: [string, Partial<MigrationCase>, Judgement][] = [
  [
    'a target that discarded lets the source go on',
    { target: seen('none', 'discarded'), source: seen('sent') },
    { is: 'resume-source', targetDiscarded: true },
  ],
  [
    'discarded and the source gone: lost',
    { target: seen('none', 'discarded'), source: seen('none') },
    { is: 'give-up', event: 'lost', disks: 'source' },
  ],
  [
    'discarded and the source off: lost',
    { target: seen('none', 'discarded'), source: off },
    { is: 'give-up', event: 'lost', disks: 'source' },
  ],
  [
    'a target that may have run is never followed by the memory of a source that sent',
    { target: seen('none', 'gone'), source: seen('sent') },
    { is: 'give-up', event: 'lost', disks: 'source' },
  ],
  [
    'with moved disks those of the target are newer then',
    { target: seen('none', 'gone'), source: seen('sent'), movesDisks: true },
    { is: 'give-up', event: 'lost', disks: 'target' },
  ],
  [
    'gone, and the stream never completed: the source proves it',
    { target: seen('none', 'gone'), source: seen('running') },
    { is: 'resume-source', targetDiscarded: false },
  ],
  [
    'a target that is off after the stream completed: a restart from disk',
    { target: off, source: seen('sent') },
    { is: 'give-up', event: 'fenced', disks: 'source' },
  ],
  [
    'a target that is off before that: the source goes on by its own proof',
    { target: off, source: seen('outgoing') },
    { is: 'resume-source', targetDiscarded: false },
  ],
  ['both off', { target: off, source: off }, { is: 'give-up', event: 'fenced', disks: 'source' }],
  [
    'both off with moved disks, the stream known to be complete',
    { target: off, source: off, movesDisks: true, job: 'sent' },
    { is: 'give-up', event: 'fenced', disks: 'target' },
  ],
  [
    'both off with moved disks, the stream known not to be',
    { target: off, source: off, movesDisks: true, job: 'not-sent' },
    { is: 'give-up', event: 'fenced', disks: 'source' },
  ],
  ['a running target will say so', { target: seen('running'), source: silent }, { is: 'follow' }],
  [
    'a stream between hosts goes on without us',
    { target: seen('incoming'), source: seen('outgoing') },
    { is: 'follow' },
  ],
  [
    'a source that never began: the target is given up',
    { target: seen('incoming'), source: seen('running') },
    { is: 'discard-target' },
  ],
  [
    'a held target is let go once the source has sent',
    { target: seen('incoming-complete'), source: seen('sent'), runWhen: 'released' },
    { is: 'release-target' },
  ],
  [
    'a held target is let go when the source is off',
    { target: seen('incoming-complete'), source: off, runWhen: 'released' },
    { is: 'release-target' },
  ],
  [
    'a target whose QEMU is gone is asked for its durable word',
    { target: seen('none'), source: seen('sent') },
    { is: 'discard-target' },
  ],
]

for (const [name, change, wanted] of table) test(name, () => assert.deepEqual(judge(change), wanted))

test('a target out of reach after the stream completed is stuck, never resumed', () => {
  const verdict = judge({ target: silent, source: seen('sent'), job: 'sent' })
  assert.equal(verdict.is, 'stuck')
  assert.equal(judge({ target: silent, source: silent }).is, 'stuck')
  assert.equal(judge({ target: off, source: off, movesDisks: true, job: 'unknown' }).is, 'stuck')
})

function allCases(): MigrationCase[] {
  const answers = [null, 'discarded', 'running', 'gone'] as const
  const targets: Sight[] = [
    silent,
    off,
    ...vmProcessStates.flatMap((process) => answers.map((answer) => seen(process, answer))),
  ]
  const sources: Sight[] = [silent, off, ...vmProcessStates.map((process) => seen(process))]
  const cases: MigrationCase[] = []
  for (const to of targets)
    for (const from of sources)
      for (const job of ['running', 'sent', 'not-sent', 'unknown', 'none'] as const)
        for (const runWhen of ['complete', 'released'] as const)
          for (const flags of [0, 1, 2, 3, 4, 5, 6, 7])
            cases.push({
              record: { ...moving, postCopy: (flags & 4) !== 0 },
              move: { task, source, target },
              source: from,
              target: to,
              job,
              runWhen,
              movesDisks: (flags & 1) !== 0,
              isOverdue: (flags & 2) !== 0,
            })
  return cases
}

test('in every combination the verdict is safe', () => {
  for (const view of allCases()) {
    const verdict = judgeMigration(view)
    const words = JSON.stringify({ ...view, record: view.record.postCopy, verdict })
    const targetMayRun =
      view.target.at === 'unreachable' ||
      (view.target.at === 'seen' &&
        view.target.answer !== 'discarded' &&
        ['running', 'paused', 'incoming-complete'].includes(view.target.process))
    switch (verdict.is) {
      case 'resume-source': {
        assert.ok(!view.record.postCopy, `resumed after post-copy: ${words}`)
        // The proof of a discard is claimed only when the target gave it.
        const hasProof = view.target.at === 'seen' && view.target.answer === 'discarded'
        assert.equal(verdict.targetDiscarded, hasProof, words)
        // Without it the source has at most an unfinished stream: its agent checks that.
        if (!hasProof) assert.ok(view.source.at === 'seen' && view.source.process !== 'sent', words)
        break
      }
      case 'give-up': {
        // Neither side may be running, or able to, when the VM is declared stopped.
        assert.ok(!targetMayRun || view.target.at !== 'unreachable', words)
        const isDown =
          view.target.at === 'off' ||
          (view.target.at === 'seen' && (view.target.answer === 'discarded' || view.target.answer === 'gone'))
        assert.ok(isDown, `given up while the target may run: ${words}`)
        assert.notEqual(view.source.at, 'unreachable', words)
        const guestAtSource =
          view.source.at === 'seen' && ['running', 'paused', 'outgoing'].includes(view.source.process)
        assert.ok(!guestAtSource || view.record.postCopy, words)
        break
      }
      case 'release-target': {
        const sourceIsDone =
          view.source.at === 'off' ||
          view.job === 'sent' ||
          (view.source.at === 'seen' && ['sent', 'none', 'failed'].includes(view.source.process))
        assert.ok(sourceIsDone && view.runWhen === 'released', words)
        break
      }
      case 'committed':
      case 'not-committed':
        assert.fail(`decided while the record is moving: ${words}`)
        break
      default:
        break
    }
  }
})
