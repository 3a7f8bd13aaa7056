/** Every file of scenarios/ is played with a few seeds; and once without its faults, where what it expects must not be so. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { hasFaults, missed, missedWithoutFaults, playScenario } from '../../src/sim/scenario/play.ts'
import { readScenario } from '../../src/sim/scenario/read.ts'
import { replayFileCommand } from '../../src/sim/scenario/tell.ts'
import { fileSeeds } from './sound-seeds.ts'

const folder = 'test/cluster/scenarios'
const files = readdirSync(join(import.meta.dirname, 'scenarios')).filter((name) => name.endsWith('.json'))

for (const file of files) {
  const name = file.replace('.json', '')
  const path = join(folder, file)
  const read = () => readScenario(name, readFileSync(join(import.meta.dirname, 'scenarios', file), 'utf8'))

  test(name, async () => {
    const scenario = read()
    for (let seed = 1; seed <= fileSeeds; seed++) {
      const outcome = await playScenario(scenario, { seed })
      assert.deepEqual(missed(outcome), [], `play it with: ${replayFileCommand(path, seed)}`)
    }
    assert.ok(hasFaults(scenario), 'nothing strikes in it')
    const calm = await playScenario(scenario, { seed: 1, withoutFaults: true })
    assert.notDeepEqual(missedWithoutFaults(calm), [], 'all that it expects is so without its faults')
  })
}
