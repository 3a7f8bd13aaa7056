/** The invariants can fail: each fault that is planted into the program is found within a bounded number of seeds. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Planted } from '../../src/sim/cluster/planted.ts'
import { runScenario, type AnyPlanted, type ScenarioName } from '../../src/sim/cluster/scenarios.ts'
import type { PlantedProtection } from '../../src/sim/protection/planted.ts'

async function firstFound(
  scenario: ScenarioName,
  fault: AnyPlanted,
  mostSeeds: number,
  from = 1,
): Promise<readonly string[]> {
  for (let seed = from; seed < from + mostSeeds; seed++) {
    const { wrong } = await runScenario(scenario, { seed, planted: new Set([fault]) })
    if (wrong.length > 0) return wrong
  }
  return []
}

const words: Record<Planted, string> = {
  'judge-guesses': 'a judge that takes silence for a discarded move is found',
  'agent-runs-without-record': 'an agent that runs a guest before the record has moved is found',
  'store-forgets': 'a store that loses acknowledged changes is found',
  'silence-vouches': 'a host that goes on because nobody said no is found',
  'watchdog-hangs': 'a watchdog that stops nothing is found',
}

/** Where one in ten seeds or fewer shows it, the search begins not far before one that does. */
const fromSeed: Partial<Record<Planted, number>> = { 'silence-vouches': 24 }

for (const [fault, name] of Object.entries(words) as [Planted, string][]) {
  test(name, async () => {
    const scenario = fault === 'silence-vouches' || fault === 'watchdog-hangs' ? 'leases' : 'migration'
    const found = await firstFound(scenario, fault, 120, fromSeed[fault])
    assert.notDeepEqual(found, [], `no seed shows ${fault}`)
    // Two copies run at once: nothing less is what leases are for.
    if (scenario === 'leases') assert.match(found[0] ?? '', / runs on .* and /)
  })
}

const protectionWords: Record<PlantedProtection, string> = {
  'releases-before-ack': 'a primary that lets output go before the second has its epoch is found',
  'arbiter-says-yes-to-all': 'an arbiter that keeps no register is found',
  'forgets-last-epoch': 'a second that goes on from an older epoch than it acknowledged is found',
  'adopts-before-durable': 'a primary that goes over to a new arbiter before it remembers that is found',
  'opens-before-promise': 'a new arbiter that decides before both sides have left the old one is found',
}

for (const [fault, name] of Object.entries(protectionWords) as [PlantedProtection, string][]) {
  test(name, async () => {
    assert.notDeepEqual(await firstFound('protection', fault, 4000), [], `no seed shows ${fault}`)
  })
}
