import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { HostId, VmId } from '../base/ids.ts'
import type { ProtectionConfig } from './protection.ts'
import { mustTakePart, type ArbiterAsk } from './arbiter-door.ts'

const vm = 'vm-7' as VmId
const [a, b, c, d] = ['host-1', 'host-2', 'host-3', 'host-4'] as [HostId, HostId, HostId, HostId]
const config: ProtectionConfig = { vm, n: 2, primary: a, second: b, arbiter: c }

function may(host: HostId, asked: ArbiterAsk): boolean {
  try {
    mustTakePart(host, asked, config)
    return true
  } catch {
    return false
  }
}

test('a host asks for its own side alone, but that a second may give the VM to the primary', () => {
  for (const ask of ['claim', 'look'] as const) {
    const asked = (side: 'primary' | 'second') => ({ ask, request: { vm, n: 2, side } }) as const
    assert.deepEqual([may(a, asked('primary')), may(a, asked('second'))], [true, false])
    assert.deepEqual([may(b, asked('primary')), may(b, asked('second'))], [ask === 'claim', true])
    assert.deepEqual([may(d, asked('primary')), may(d, asked('second'))], [false, false])
  }
})

test('about a number that decides nothing any more, or that is not known, anybody is told so', () => {
  assert.ok(may(d, { ask: 'look', request: { vm, n: 1, side: 'primary' } }))
  assert.ok(may(d, { ask: 'claim', request: { vm: 'vm-8' as VmId, n: 1, side: 'second' } }))
  assert.ok(may(d, { ask: 'life' }))
})

test('a host opens configurations that name it, and supersedes its own as primary', () => {
  const open: ArbiterAsk = { ask: 'open', request: { config, life: 'x' } }
  assert.deepEqual([may(a, open), may(b, open), may(c, open), may(d, open)], [true, true, false, false])
  const next = { ...config, n: 3, arbiter: d }
  const supersede: ArbiterAsk = { ask: 'supersede', request: { vm, n: 2, next } }
  assert.deepEqual([may(a, supersede), may(b, supersede), may(d, supersede)], [true, false, false])
  const stolen: ArbiterAsk = { ask: 'supersede', request: { vm, n: 2, next: { ...next, primary: d } } }
  assert.equal(may(d, stolen), false)
})
