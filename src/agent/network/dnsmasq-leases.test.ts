import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { LeaseConfig } from '../../contracts/agent-api.ts'
import { stillRight } from './dnsmasq.ts'

const lease = (mac: string, address: string): LeaseConfig => ({
  ...{ vm: 'vm-1' as LeaseConfig['vm'], network: 'net-1' as LeaseConfig['network'] },
  ...{ mac, address, hostname: 'one' },
})

test('the lease of a deleted guest gives way to the guest that has its address now; all others stay', () => {
  const old = '1795498948 52:54:00:00:00:01 10.0.0.2 one 01:52:54:00:00:00:01'
  const kept = '1795499032 52:54:00:00:00:03 10.0.0.3 local 01:52:54:00:00:00:03'
  const text = `${old}\n${kept}\n`
  assert.equal(stillRight(text, [lease('52:54:00:00:00:02', '10.0.0.2')]), `${kept}\n`)
  assert.equal(stillRight(text, [lease('52:54:00:00:00:01', '10.0.0.2')]), text)
  assert.equal(stillRight('', [lease('52:54:00:00:00:01', '10.0.0.2')]), '')
})
