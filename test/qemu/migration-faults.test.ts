/**
 * At any moment of a move, the death of either agent, either QEMU or the manager, or a partition, leaves exactly one running
 * copy, or a stop that is repaired without a person. Asked of each QEMU itself, during the fault and after it.
 */
import { after, before, test } from 'node:test'
import type { Vm } from '../../src/contracts/inventory.ts'
import { FaultTrial, type FaultCase } from '../support/fault-case.ts'
import { TestLab } from '../support/lab.ts'

/** What makes restarts is kept apart by deaths of the manager, which forgets how often it has restarted a guest lately. */
const cases: readonly FaultCase[] = [
  { victim: 'source agent', at: 'memory', restart: 'never' },
  { victim: 'target agent', at: 'memory', restart: 'never' },
  { victim: 'target QEMU', at: 'memory', restart: 'never' },
  { victim: 'source QEMU', at: 'memory', restart: 'must' },
  { victim: 'manager', at: 'memory', restart: 'never' },
  { victim: 'target QEMU', at: 'arrival', restart: 'must' },
  { victim: 'source agent', at: 'switch', restart: 'never' },
  { victim: 'target agent', at: 'switch', restart: 'never' },
  { victim: 'manager', at: 'switch', restart: 'never' },
  { victim: 'source QEMU', at: 'switch', restart: 'allowed' },
  { victim: 'target agent', at: 'arrival', restart: 'never' },
  { victim: 'source QEMU', at: 'arrival', restart: 'never' },
  { victim: 'manager', at: 'arrival', restart: 'never' },
  { victim: 'target QEMU', at: 'switch', restart: 'allowed' },
  { victim: 'source-target link', at: 'memory', restart: 'never' },
  { victim: 'manager-source link', at: 'memory', restart: 'never' },
  { victim: 'manager-target link', at: 'switch', restart: 'never', lasts: 6000 },
  { victim: 'source-target link', at: 'memory', restart: 'never', lasts: 'until-end' },
  { victim: 'source-target link', at: 'arrival', restart: 'never' },
  { victim: 'manager-target link', at: 'arrival', restart: 'never' },
  { victim: 'manager', at: 'begin', restart: 'never' },
  { victim: 'source agent', at: 'begin', restart: 'never' },
  { victim: 'target agent', at: 'begin', restart: 'never' },
  { victim: 'target QEMU', at: 'begin', restart: 'never' },
  { victim: 'source QEMU', at: 'begin', restart: 'must' },
]

let lab: TestLab
let generation = 0

before(async () => {
  lab = await TestLab.open({ name: `mf${process.pid % 100_000}`, hosts: 2, diskGiB: 1 })
})
after(() => lab?.[Symbol.asyncDispose]())

/** The guest of the case before, when that has left it well; a new one otherwise. */
async function guest(): Promise<Vm> {
  const all = (await lab.client.call('listVms')).items.filter(({ name }) => name.startsWith('faulty'))
  const well = all.find((vm) => vm.state === 'running' && vm.operation === null)
  if (well !== undefined) return well
  const name = `faulty-${process.pid}-${++generation}`
  return await lab.createVm({ name, disks: [{ sizeBytes: 2 ** 24, datastore: 'shared' }] })
}

const when = {
  begin: 'as the move begins',
  memory: 'while memory flows',
  switch: 'as the guest stops at the source',
  arrival: 'as the guest begins at the target',
} as const

for (const fault of cases) {
  const what = fault.victim.endsWith('link') ? 'is cut' : 'dies'
  test(`the ${fault.victim} ${what} ${when[fault.at]}${fault.lasts === 'until-end' ? ', for long' : ''}`, async (context) => {
    await lab.heal()
    context.diagnostic(await new FaultTrial(lab, await guest(), fault).run(++generation))
  })
}
