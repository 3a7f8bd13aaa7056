import assert from 'node:assert/strict'
import { test } from 'node:test'
import { cutsOf, mergeCuts, ruleset } from './partitions.ts'

const hosts = ['host1', 'host2', 'host3']
const text = (cuts: ReturnType<typeof cutsOf>): string[] =>
  cuts.map((cut) => `${cut.network}:${cut.from}>${cut.to}`).sort()

test('a host is cut off from everybody else, in both directions, on the networks that both are on', () => {
  const cuts = text(cutsOf({ hosts: ['host1'], isOneWay: false }, hosts))
  assert.ok(cuts.includes('management:host1>manager'))
  assert.ok(cuts.includes('management:manager>host1'))
  assert.ok(cuts.includes('guests:outside>host1'))
  assert.ok(cuts.includes('storage:host1>host3'))
  assert.ok(
    !cuts.some((cut) => cut.startsWith('storage') && cut.includes('manager')),
    'the manager has no storage network',
  )
  assert.ok(!cuts.some((cut) => cut.includes('host2>host3')))
})

test('hosts that are cut off together still reach each other', () => {
  const cuts = text(cutsOf({ hosts: ['host1', 'host2'], isOneWay: false }, hosts))
  assert.ok(!cuts.some((cut) => cut.includes('host1>host2')))
  assert.ok(cuts.includes('storage:host2>host3'))
})

test('one way, one network, from one host is one cut', () => {
  const cuts = cutsOf({ hosts: ['host1'], from: ['host2'], network: 'storage', isOneWay: true }, hosts)
  assert.deepEqual(text(cuts), ['storage:host1>host2'])
})

test('a name that is nobody’s is refused', () => {
  assert.throws(() => cutsOf({ hosts: ['host7'], isOneWay: false }, hosts), /has no "host7"/)
  assert.throws(() => cutsOf({ hosts: ['host1'], from: ['hots2'], isOneWay: false }, hosts), /has no "hots2"/)
})

test('the same cut twice is in force once', () => {
  const one = cutsOf({ hosts: ['host1'], from: ['host2'], isOneWay: false }, hosts)
  assert.equal(mergeCuts(one, one).length, one.length)
  assert.equal(ruleset(one).match(/drop/g)?.length, one.length)
  assert.match(ruleset(one), /iifname "host1-s" oifname "host2-s" counter drop/)
})
