/** Waiting for the lead and keeping it, with a lead that answers as it is told. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HoldfastError } from '../../base/errors.ts'
import { silentLogger } from '../../base/log.ts'
import { VirtualClock } from '../../sim/virtual-clock.ts'
import { keepLead, leadTtlMs, waitForLead, type LeadRecord } from './leadership.ts'

const other: LeadRecord = { manager: 'm2', name: 'two', urls: [], term: 1, since: '', life: 'x' }

/** A lead whose lease is `leadTtlMs` long, counted from when it was renewed last. */
function world() {
  const clock = new VirtualClock()
  let heldUntil = 0
  const say = {
    take: false,
    renew: true as boolean | 'no answer',
    rival: undefined as LeadRecord | undefined,
    renewals: 0,
  }
  const got = (): boolean => {
    heldUntil = clock.monotonic() + leadTtlMs
    return true
  }
  const lead = {
    msLeft: () => heldUntil - clock.monotonic(),
    rival: async () => say.rival,
    take: async () => say.take && got(),
    renew: async () => {
      say.renewals++
      if (say.renew === 'no answer') throw new HoldfastError('unreachable', 'etcd does not answer')
      return say.renew && got()
    },
  }
  got()
  return { clock, say, ports: { lead, clock, logger: silentLogger } }
}

test('who leads is told each time that it is another, until the lead is had', async () => {
  const { clock, say, ports } = world()
  const told: (string | undefined)[] = []
  const waiting = waitForLead(ports, (leader) => told.push(leader?.name), new AbortController().signal)
  await clock.advance(1000)
  say.rival = other
  await clock.advance(1000)
  say.rival = { ...other, name: 'three', term: 2 }
  await clock.advance(1000)
  say.take = true
  assert.equal(await clock.run(waiting, 1000), true)
  assert.deepEqual(told, [undefined, 'two', 'three'])
})

test('waiting ends with false when it is aborted', async () => {
  const { clock, ports } = world()
  const ended = new AbortController()
  const waiting = waitForLead(ports, () => undefined, ended.signal)
  await clock.advance(1000)
  ended.abort()
  assert.equal(await clock.run(waiting, 1000), false)
})

test('a leader whose lease is over has four seconds to get it again', async () => {
  const { clock, say, ports } = world()
  let why: string | undefined
  void keepLead(ports, new AbortController().signal).then((text) => (why = text))
  await clock.advance(10_000)
  assert.equal(why, undefined)
  say.renew = 'no answer'
  await clock.advance(leadTtlMs + 3000)
  assert.equal(why, undefined)
  // etcd was slow for everybody: nobody else has taken it.
  say.renew = true
  await clock.advance(1000)
  say.renew = 'no answer'
  await clock.advance(leadTtlMs + 3000)
  assert.equal(why, undefined)
  await clock.advance(2000)
  assert.equal(why, 'it was not renewed in time')
})

test('a leader ends at once when another has the lead', async () => {
  const { clock, say, ports } = world()
  const keeping = keepLead(ports, new AbortController().signal)
  await clock.advance(1000)
  say.renew = false
  assert.equal(await clock.run(keeping, 1000), 'another manager has it')
})

test('the lead is kept until it is given back, and not at all where that was before', async () => {
  const { clock, say, ports } = world()
  const ended = new AbortController()
  const keeping = keepLead(ports, ended.signal)
  await clock.advance(1000)
  ended.abort()
  assert.equal(await clock.run(keeping, 1000), 'it was given back')
  const { renewals } = say
  assert.equal(await clock.run(keepLead(ports, ended.signal), 1000), 'it was given back')
  await clock.advance(5000)
  assert.equal(say.renewals, renewals)
})
