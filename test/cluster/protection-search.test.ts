/** Who may go on: the register and both sides of a protected VM under random faults (`./dev/sim --scenario protection`). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { soundSeeds } from './sound-seeds.ts'

test('a protected VM shows one history only, and goes on while a copy and its arbiter live', async () => {
  const tally = await soundSeeds('protection', 1, 6000)
  const ends = [
    'takeovers',
    'claims of a primary',
    'primaries that lost',
    'new arbiters',
    'protected again',
    'broken connections',
    'pumps that died',
    'seconds that had won before their pump died',
  ]
  for (const end of ends) assert.ok((tally[end] ?? 0) > 0, `no schedule had: ${end}`)
})
