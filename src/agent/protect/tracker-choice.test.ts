import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { TrackerTrial } from '../../base/process-memory.ts'
import { chooseTracker } from './tracker-choice.ts'

const trials = (uffd: string | null, soft: string | null, comparison: string | null = null): TrackerTrial[] => [
  { kind: 'userfaultfd', problem: uffd },
  { kind: 'soft-dirty', problem: soft },
  { kind: 'comparison', problem: comparison },
]

test('the cheapest tracker that was seen to work is taken', () => {
  assert.equal(chooseTracker(trials(null, null)).kind, 'userfaultfd')
  assert.equal(chooseTracker(trials('errno 22', null)).kind, 'soft-dirty')
  const last = chooseTracker(trials('errno 22', 'it missed 3 of 3'))
  assert.equal(last.kind, 'comparison')
  assert.match(last.reason, /userfaultfd .*errno 22.*soft-dirty .*missed 3 of 3/)
})

test('where none works, all of it is said', () => {
  const none = chooseTracker(trials('no ptrace', 'no ptrace', 'no memory'))
  assert.equal(none.kind, null)
  assert.match(none.reason, /userfaultfd.*soft-dirty.*comparison does not work: no memory/)
})

test('one that was asked for is taken, or none', () => {
  assert.equal(chooseTracker(trials(null, null), 'comparison').kind, 'comparison')
  const refused = chooseTracker(trials(null, 'it missed 3 of 3'), 'soft-dirty')
  assert.equal(refused.kind, null)
  assert.match(refused.reason, /told to use soft-dirty.*missed 3 of 3/)
})
