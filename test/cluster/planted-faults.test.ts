/** The invariants can fail: each fault that is planted into the program is found within a bounded number of seeds. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Planted } from '../../src/sim/cluster/planted.ts'
import { runScenario } from '../../src/sim/cluster/scenarios.ts'

const mostSeeds = 120

async function firstFound(fault: Planted): Promise<readonly string[]> {
  for (let seed = 1; seed <= mostSeeds; seed++) {
    const { wrong } = await runScenario('migration', { seed, planted: new Set([fault]) })
    if (wrong.length > 0) return wrong
  }
  return []
}

const words: Record<Planted, string> = {
  'judge-guesses': 'a judge that takes silence for a discarded move is found',
  'agent-runs-without-record': 'an agent that runs a guest before the record has moved is found',
  'store-forgets': 'a store that loses acknowledged changes is found',
}

for (const [fault, name] of Object.entries(words) as [Planted, string][]) {
  test(name, async () => {
    assert.notDeepEqual(await firstFound(fault), [], `no seed up to ${mostSeeds} shows ${fault}`)
  })
}
