import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { addressProblem, firstFreeAddress, formatIpv4, parseCidr, parseIpv4, planAddresses } from './ipv4.ts'
import { macFrom, macProblem } from './mac.ts'
import { claimedAddresses, hostnameOf, nameClaim, nameProblem, resolveRef } from './names.ts'
import { compareVersions } from './versions.ts'

test('every address survives being written and read', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 32 - 1 }), (value) => assert.equal(parseIpv4(formatIpv4(value)), value)),
  )
})

test('what is no address or range is told', () => {
  for (const text of ['1.2.3', '1.2.3.4.5', '256.1.1.1', '01.2.3.4', 'a.b.c.d', ''])
    assert.equal(parseIpv4(text), undefined, text)
  for (const text of ['10.0.0.1/24', '10.0.0.0/33', '10.0.0.0', 'x/8']) assert.equal(parseCidr(text), undefined, text)
})

test('a plan keeps gateway and service out of the range', () => {
  const plan = planAddresses('10.9.0.0/24', '10.9.0.1')
  assert.deepEqual(plan, {
    cidr: '10.9.0.0/24',
    gateway: '10.9.0.1',
    service: '10.9.0.254',
    rangeStart: '10.9.0.2',
    rangeEnd: '10.9.0.253',
  })
  assert.equal(planAddresses('10.9.0.0/30', null), undefined)
  assert.equal(planAddresses('10.9.0.0/24', '10.8.0.1'), undefined)
  assert.equal(planAddresses('10.9.0.0/24', '10.9.0.254'), undefined)
})

test('addresses are handed out until the range is full, none twice and none that is reserved', () => {
  const plan = planAddresses('10.9.0.0/28', '10.9.0.5')
  assert.ok(plan !== undefined)
  const taken = new Set<string>()
  for (let next = firstFreeAddress(plan, taken); next !== undefined; next = firstFreeAddress(plan, taken)) {
    assert.equal(addressProblem(plan, next), undefined)
    taken.add(next)
  }
  assert.equal(taken.size, 12)
})

test('MACs made from any randomness are unicast and local', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 3, maxLength: 3 }), (bytes) =>
      assert.equal(macProblem(macFrom(bytes)), undefined),
    ),
  )
})

test('names that are paths, options or ids are refused', () => {
  for (const name of ['', '../x', 'a/b', '-rf', ' a', 'a ', 'vm-7', 'VM-7', 'host-1', 'x'.repeat(81), 'ä']) {
    assert.notEqual(nameProblem(name), undefined, name)
  }
  for (const name of ['web', 'Web 1', 'a.b_c-d', 'vm-0', 'x'.repeat(80)])
    assert.equal(nameProblem(name), undefined, name)
})

test('claims ignore case, and the addresses of a network are found among them', () => {
  assert.equal(nameClaim('vm', 'project-1', 'Web'), nameClaim('vm', 'project-1', 'web'))
  assert.deepEqual(
    [...claimedAddresses('net-1', ['address/net-1/1.2.3.4', 'address/net-11/5.6.7.8', 'mac/x'])],
    ['1.2.3.4'],
  )
  assert.equal(hostnameOf('Web 1_x'), 'web-1-x')
  assert.equal(hostnameOf('...'), 'vm')
})

test('a reference is an id before it is a name', () => {
  const items = [
    { id: 'net-1', name: 'net-2' },
    { id: 'net-2', name: 'Other' },
  ]
  assert.equal(resolveRef(items, 'net-2')?.id, 'net-2')
  assert.equal(resolveRef(items, 'other')?.id, 'net-2')
  assert.equal(resolveRef(items, 'none'), undefined)
})

test('versions are compared by number', () => {
  assert.ok(compareVersions('10.0', '7.2') > 0)
  assert.ok(compareVersions('9.10', '9.9') > 0)
  assert.equal(compareVersions('10.0', '10.0.0'), 0)
})
