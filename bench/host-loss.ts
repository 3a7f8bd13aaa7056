/**
 * A host loses its power: how long until its VM runs on another one, from the strike to the moment at which its vCPUs run (the
 * guest's own boot comes on top). With a fence device, and by the lease alone with three managers.
 *
 *   ./dev/bench host-loss --runs 30
 */
import type { Vm } from '../src/contracts/inventory.ts'
import { TestLab, type TestLabOptions } from '../test/support/lab.ts'
import { numberOptions, Report } from './support/report.ts'

const { runs } = numberOptions({ runs: 30 })
const report = new Report('host-loss', { runs })
const disks = [{ sizeBytes: 2 ** 28, datastore: 'shared' }]

async function areConnected(lab: TestLab): Promise<boolean> {
  return (await lab.client.call('listHosts')).items.every(({ state }) => state === 'connected')
}

async function isWell(lab: TestLab, isLeased: boolean): Promise<boolean> {
  const { items } = await lab.client.call('listHosts')
  const [vm] = (await lab.client.call('listVms')).items
  const host = items.find(({ id }) => id === vm?.hostId)
  if (vm?.state !== 'running' || !items.every(({ state }) => state === 'connected')) return false
  if (!isLeased) return true
  const areHeld = items.every(({ lease }) => lease !== null && lease.state !== 'over' && lease.state !== 'unheard')
  return areHeld && host?.lease?.state === 'held' && host.lease.armed.includes(vm.id)
}

async function lane(options: TestLabOptions, isLeased: boolean): Promise<number[]> {
  await using lab = await TestLab.open(options)
  const policies = { isolation: isLeased ? ('stop' as const) : ('leave-running' as const) }
  const tookMs: number[] = []
  for (let run = 0; run < runs; run++) {
    // A new one each time: one that is struck too often is started again more slowly.
    const name = `struck ${run}`
    await lab.eventually('every host is connected', () => areConnected(lab), 120_000)
    const { id } = await lab.createVm({ name, memoryMiB: 64, disks, policies })
    await lab.eventually('all is well', () => isWell(lab, isLeased), 120_000)
    const { host } = await lab.vm(name)
    if (host === null) throw new Error('the VM runs nowhere')
    const began = performance.now()
    await lab.crash(host)
    const runsElsewhere = async (): Promise<Vm | false> => {
      const seen = await lab.vm(name)
      return seen.run.phase === 'running' && seen.host !== host && seen
    }
    await lab.eventually('it runs elsewhere', runsElsewhere)
    tookMs.push(performance.now() - began)
    await lab.heal()
    await lab.eventually('every host is connected', () => areConnected(lab), 120_000)
    await lab.finish(await lab.client.call('stopVm', { params: { vm: id }, body: {} }))
    await lab.finish(await lab.client.call('deleteVm', { params: { vm: id } }))
  }
  return tookMs
}

const rows = [
  { name: 'a fence device', values: await lane({ name: 'hlf', hosts: 3, hasFence: true }, false) },
  { name: 'the lease alone', values: await lane({ name: 'hll', hosts: 3, managers: 3 }, true) },
]
report.add({ title: 'until the VM of a lost host runs elsewhere', unit: 'ms', base: rows[0]?.name ?? '', rows })
await report.write()
process.exit(0)
