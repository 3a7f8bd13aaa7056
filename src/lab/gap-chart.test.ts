import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { drawGap } from './gap-chart.ts'
import type { Arrival } from './tick-log.ts'

/** Five ticks each 25 ms until `from`, and again from `to` on. */
function arrivals(from: number, to: number): Arrival[] {
  const every = (start: number): Arrival[] => Array.from({ length: 40 }, (_, i) => ({ at: start + i * 25, count: 5 }))
  return [...every(from - 39 * 25), ...every(to)]
}

const names = { from: 'host1', to: 'host2' }

test('a silence of 500 ms is nine empty columns between full ones, and a half one', () => {
  const text = drawGap({ arrivals: arrivals(5000, 5500), silence: { from: 5000, to: 5500 }, ...names })
  assert.deepEqual(text.split('\n'), [
    '  ticks per 50 ms',
    '  ██████████████·········▄█████████████',
    '               ╵ the last from host1',
    '                         ╵ the first from host2, 500 ms later',
    '',
  ])
})

test('fewer ticks are a lower column, and a single one is seen', () => {
  const some = [
    { at: 1000, count: 5 },
    { at: 2000, count: 1 },
    { at: 2051, count: 400 },
  ]
  const columns = drawGap({ arrivals: some, silence: { from: 1000, to: 2000 }, ...names }).split('\n')[1]
  assert.equal(columns?.replaceAll(/[ ·]/g, ''), '▄▁█')
})

test('however long the silence is, it fits the width, and the marks stand below the ticks', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 60_000 }), fc.integer({ min: 60, max: 200 }), (silenceMs, width) => {
      const silence = { from: 100_000, to: 100_000 + silenceMs }
      const [title = '', columns = '', last = '', first = ''] = drawGap(
        { arrivals: arrivals(silence.from, silence.to), silence, ...names },
        width,
      ).split('\n')
      assert.match(title, /^ {2}ticks per [0-9]+ ms$/)
      assert.ok(columns.length <= width, `${columns.length} columns`)
      assert.notEqual(columns[last.indexOf('╵')], '·')
      assert.notEqual(columns[first.indexOf('╵')], '·')
    }),
  )
})
