import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fakeTerminal } from '../testing/fake-surroundings.ts'
import { sampleTask } from '../testing/samples.ts'
import { displayWidth } from '../terminal.ts'
import { progressLine, ProgressView } from './progress.ts'

const moving = sampleTask({
  state: 'running',
  step: 'transfer',
  progress: 0.474,
  ended: null,
  detail: {
    phase: 'memory',
    bytesPerSecond: 112_400_000,
    dirtyBytesPerSecond: 31_000_000,
    remainingSeconds: 4.2,
    doneBytes: 1,
    totalBytes: 2,
  },
})

test('a migration shows its share, rate, dirty rate and rest', () => {
  assert.equal(
    progressLine(moving, 100),
    'vm.migrate web  [###########.............]  47 %  memory  112 MB/s  dirty 31.0 MB/s  4.2 s left',
  )
})

test('the line is never wider than the terminal', () => {
  for (let columns = 1; columns < 120; columns += 1) assert.ok(displayWidth(progressLine(moving, columns)) <= columns)
})

test('a terminal has one line that is drawn anew and taken away', () => {
  const terminal = fakeTerminal({ isTty: true })
  const view = new ProgressView(terminal)
  view.update(moving)
  view.update(moving)
  view.clear()
  assert.equal(terminal.written.err.includes('\n'), false)
  assert.ok(terminal.written.err.endsWith('\r\u001b[K'))
})

test('elsewhere there is a line per step and per tenth, and none twice', () => {
  const terminal = fakeTerminal()
  const view = new ProgressView(terminal)
  for (const progress of [0.41, 0.42, 0.49, 0.5, 0.5]) view.update({ ...moving, progress })
  assert.equal(terminal.written.err.split('\n').length - 1, 2)
})
