/** A protected VM and those who hold it, one after the other struck, in one lab of three hosts. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { ProtectedVm, pumpLogs, type Victim } from '../support/protected-vm.ts'
import { TestLab } from '../support/lab.ts'

let lab: TestLab
let own: ProtectedVm

before(async () => {
  lab = await TestLab.open({ name: `ft${process.pid % 100_000}`, hosts: 3, diskGiB: 2 })
  own = await ProtectedVm.open(lab, 'one')
})
after(async () => {
  own?.[Symbol.dispose]()
  await lab?.[Symbol.asyncDispose]()
})

async function survives(victim: Victim): Promise<string> {
  try {
    const { from, to, longestSilence } = await own.strike(victim)
    return `${from} → ${to}, longest silence ${Math.round(longestSilence)} ms`
  } catch (thrown) {
    console.error(pumpLogs(lab, (await own.vm()).id))
    throw thrown
  }
}

for (const victim of ['primary host', 'second pump', 'primary frozen'] as const) {
  test(`${victim}: no connection is lost, nothing acknowledged is gone, and protection comes back`, async (t) => {
    t.diagnostic(await survives(victim))
  })
}

test('everything that was acknowledged is on the disk', async () => {
  await own.verify()
  assert.ok(own.acknowledged > 50 && own.ticks > 1000)
})
