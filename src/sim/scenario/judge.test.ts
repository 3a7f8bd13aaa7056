/** What counts as kept and what as missed, of lines that are given. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Expectations } from './format.ts'
import { judge } from './judge.ts'

const lines = [
  ['5', 'do crash node1'],
  ['9', 'host.fenced node1'],
  ['10', 'runs app node2'],
  ['11', 'runs db node3'],
  ['20', 'runs app node3'],
].map(([at, text]) => ({ atMs: Number(at) * 1000, words: (text ?? '').split(' '), says: '' }))

const problems = (expect: Expectations): (string | null)[] => judge(expect, lines, 5000).map(({ problem }) => problem)

test('events come in their order, others between them', () => {
  assert.deepEqual(problems({ events: [{ is: 'host.fenced' }, { is: 'runs db' }, { is: 'runs app' }] }), [
    null,
    null,
    null,
  ])
  assert.match(
    problems({ events: [{ is: 'runs db' }, { is: 'host.fenced' }] })[1] ?? '',
    /only at 9\.0 s, before its turn/,
  )
  assert.match(problems({ events: [{ is: 'vm.stopped app' }] })[0] ?? '', /never came/)
})

test('a group comes in any order, and each of it once', () => {
  const anyOrder = [{ is: 'runs db' }, { is: 'runs app' }]
  assert.deepEqual(problems({ events: [{ anyOrder }, { is: 'runs app node3' }] }), [null, null, null])
  assert.deepEqual(problems({ events: [{ anyOrder: [{ is: 'runs app' }, { is: 'runs app' }] }] }), [null, null])
  assert.match(problems({ events: [{ anyOrder: [{ is: 'runs db' }, { is: 'runs db' }] }] })[1] ?? '', /before its turn/)
})

test('times count from the event before, the first step, or what is named', () => {
  assert.deepEqual(
    problems({
      events: [
        { is: 'host.fenced', within: '4s' },
        { is: 'runs app', within: '1s' },
      ],
    }),
    [null, null],
  )
  assert.match(
    problems({ events: [{ is: 'host.fenced', within: '3s' }] })[0] ?? '',
    /after 4\.0 s, at 9\.0 s: too late/,
  )
  assert.match(problems({ events: [{ is: 'runs app', notBefore: '6s' }] })[0] ?? '', /too early/)
  const from = 'do crash node1'
  assert.match(problems({ events: [{ is: 'runs db', within: '5s', from }] })[0] ?? '', /after 6\.0 s/)
})

test('what must never come counts before, after, or more often than is said', () => {
  assert.match(problems({ never: ['runs app node3'] })[0] ?? '', /came at 20\.0 s: runs app node3/)
  assert.deepEqual(problems({ never: [{ is: 'runs', before: 'host.fenced node1' }] }), [null])
  assert.match(problems({ never: [{ is: 'runs', after: 'host.fenced node1' }] })[0] ?? '', /came at 10\.0 s/)
  assert.deepEqual(problems({ never: [{ is: 'runs app', moreThan: 2 }] }), [null])
  assert.match(problems({ never: [{ is: 'runs app', moreThan: 1 }] })[0] ?? '', /came at 20\.0 s/)
  assert.match(problems({ never: [{ is: 'runs app', before: 'vm.stopped app' }] })[0] ?? '', /came at 10\.0 s/)
})
