import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hostIn } from './caller.ts'

test('a host is known by the one name of a host that its certificate bears', () => {
  assert.equal(hostIn('DNS:host-3.holdfast, IP Address:10.1.0.3'), 'host-3')
  assert.equal(hostIn('IP Address:10.1.0.3'), undefined)
  assert.equal(hostIn(''), undefined)
})

test('the certificate of a stream, a longer name and a quoted one are no host', () => {
  assert.equal(hostIn('DNS:stream.host-3.holdfast'), undefined)
  assert.equal(hostIn('DNS:host-3.holdfast.example'), undefined)
  assert.equal(hostIn('DNS:"host-4, DNS:host-3.holdfast", DNS:host-5'), undefined)
  assert.equal(hostIn('DNS:host-3.holdfast, DNS:host-4.holdfast'), undefined)
})
