import assert from 'node:assert/strict'
import { test } from 'node:test'
import { addressOf, choosePlan, guestNetwork, macOf } from './address-plan.ts'

test('the first range that overlaps no route is chosen', () => {
  assert.equal(choosePlan(['192.0.2.0/24', '127.0.0.0/8']).range, 77)
  assert.equal(choosePlan(['10.77.4.0/22', '10.78.0.1']).range, 79)
  assert.equal(choosePlan(['default'], [77]).range, 78)
})

test('a machine with a route into all of 10.0.0.0/8 is told so', () => {
  assert.throws(() => choosePlan(['10.0.0.0/8']), /routes into all of 10/)
})

test('no two nodes share an address or a MAC', () => {
  const plan = { range: 77 }
  const nodes = ['outside', 'manager', ...Array.from({ length: 200 }, (_, i) => `host${i + 1}`)]
  for (const network of ['management', 'storage', 'guests'] as const) {
    assert.equal(new Set(nodes.map((node) => addressOf(plan, node, network))).size, nodes.length)
    assert.equal(new Set(nodes.map((node) => macOf(plan, node, network))).size, nodes.length)
  }
})

test('two labs have different VXLAN numbers, as their ends meet on one machine', () => {
  assert.notEqual(guestNetwork({ range: 77 }).vni, guestNetwork({ range: 78 }).vni)
})
