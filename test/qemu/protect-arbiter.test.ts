/** Who decides about a protected VM is followed by another while both copies live, in one lab of four hosts. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { Host, Vm } from '../../src/contracts/inventory.ts'
import { ProtectedVm, pumpLog, pumpLogs } from '../support/protected-vm.ts'
import { TestLab } from '../support/lab.ts'

let lab: TestLab
let own: ProtectedVm

before(async () => {
  lab = await TestLab.open({ name: `fa${process.pid % 100_000}`, hosts: 4, diskGiB: 2 })
  own = await ProtectedVm.open(lab, 'one')
})
after(async () => {
  own?.[Symbol.dispose]()
  await lab?.[Symbol.asyncDispose]()
})

function arbiterOf({ protection }: Vm): string {
  assert.ok(protection.state === 'protected', JSON.stringify(protection))
  return protection.arbiter
}

/** A person's word, as soon as the manager has missed it. */
async function confirmOff(name: string): Promise<void> {
  const host = await hostOf(name)
  await lab.eventually(`${name} is confirmed off`, async () => {
    return (
      (await lab.client.call('confirmHostOff', { params: { host: host.id }, body: { iAmSure: true } })).state ===
      'confirmed-off'
    )
  })
}

async function hostOf(name: string): Promise<Host> {
  const host = (await lab.client.call('listHosts', { query: { name } })).items[0]
  assert.ok(host)
  return host
}

async function untilAnotherDecides(than: string): Promise<string> {
  const decided = async (): Promise<string | false> => {
    const vm = await own.vm()
    return vm.protection.state === 'protected' && vm.protection.arbiter !== than && vm.protection.arbiter
  }
  return await lab.eventually(`another than ${than} decides`, decided, 120_000)
}

async function loudly<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (thrown) {
    console.error(pumpLogs(lab, (await own.vm()).id))
    throw thrown
  }
}

test('the host that decides is lost for good; then the primary is lost, and the second goes on by the new one', async (t) => {
  await loudly(async () => {
    const lost = arbiterOf(await own.untilProtected())
    await lab.crash(lost)
    await confirmOff(lost)
    const now = await untilAnotherDecides(lost)
    t.diagnostic(`${lost} decided, now ${now} does`)
    const { from, to, longestSilence } = await own.strike('primary host')
    assert.ok(![lost, from].includes(to))
    t.diagnostic(`${from} → ${to}, longest silence ${Math.round(longestSilence)} ms`)
  })
})

test('a host that decides goes into maintenance: another does before it counts as empty', async (t) => {
  await loudly(async () => {
    // The managers may decide while hosts come back; a third host does again when it has been there for a while.
    const before = await untilAnotherDecides('managers')
    const { id } = await hostOf(before)
    await lab.finish(await lab.client.call('enterMaintenance', { params: { host: id }, body: {} }))
    const now = arbiterOf(await own.vm())
    assert.notEqual(now, before)
    t.diagnostic(`${before} decided, now ${now} does`)
    const { from, to } = await own.strike('primary QEMU')
    assert.notEqual(from, to)
  })
})

test('everything that was acknowledged is on the disk', async () => {
  await own.verify()
  assert.ok(own.acknowledged > 20 && own.ticks > 500)
})

test('the newest copy is on a host that is lost with it: a person may give it up, and it never runs twice', async () => {
  await loudly(async () => {
    await lab.heal()
    await own.untilProtected()
    // The managers could not be asked by a second that cannot reach them.
    await untilAnotherDecides('managers')
    const { id, name, ...held } = await own.untilProtected()
    assert.ok(held.protection.state === 'protected')
    const [primary, second] = [held.host ?? '', held.protection.second]
    const settle = (): Promise<Vm> => lab.client.call('settleVm', { params: { vm: id }, body: { iAmSure: true } })
    await assert.rejects(settle(), { code: 'wrong-state' })
    // It goes on there, and cannot say so.
    await lab.partition({ hosts: [second], from: ['manager'], isOneWay: false })
    await lab.crash(primary)
    const isRunning = (): boolean => pumpLog(lab, id, second).at(-1)?.includes('"end":"running"') === true
    await lab.eventually('the second goes on', async () => isRunning())
    await lab.crash(second)
    await confirmOff(primary)
    await confirmOff(second)
    await lab.eventually('nobody can say', async () => (await eventsOf(name)).includes('vm.protection-undecided'))
    await settle()
    assert.ok((await eventsOf(name)).includes('vm.protection-settled'))
    const again = await lab.eventually('it runs again', async () => {
      const vm = await own.vm()
      return vm.state === 'running' && vm
    })
    assert.ok(![primary, second].includes(again.host ?? ''), `on ${again.host}`)
    await lab.heal()
    await own.untilProtected()
    await own.oneCopy()
  })
})

async function eventsOf(vm: string): Promise<string[]> {
  const types: string[] = []
  for (let after: string | null | undefined; after !== null;) {
    const page = await lab.client.call('listEvents', { query: after === undefined ? {} : { after } })
    types.push(...page.items.filter(({ subject }) => subject?.name === vm).map(({ type }) => type))
    after = page.next
  }
  return types
}
