/** Leases of hosts under random faults: managers and hosts are lost in all ways, and no VM ever runs twice. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { leaseWorlds, soundSeeds } from './sound-seeds.ts'

test('VMs that are stopped where their host is cut off run elsewhere, and never twice', async () => {
  const tally = await soundSeeds('leases', 1, leaseWorlds)
  // Hosts stopped what they had armed, in both of the ways that there are.
  for (const end of ['killed by the watchdog', 'reset by the hardware'])
    assert.ok((tally[end] ?? 0) > 0, `in no world was a VM ${end}`)
})
