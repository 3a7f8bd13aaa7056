import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Clock } from '../../base/clock.ts'
import type { HostId, VmId } from '../../base/ids.ts'
import type { HostReport } from '../../contracts/host.ts'
import type { HostRecord } from '../store/records.ts'
import { unreachableAfterMs } from '../domain/cluster-view.ts'
import { HostRegistry } from './host-registry.ts'
import { FakeHost } from './testing/fake-hosts.ts'

const host = 'host-1' as HostId

function worldAt(): { clock: Clock; pass: (ms: number) => void } {
  let now = 1_000_000
  const clock = { now: () => now, monotonic: () => now } as unknown as Clock
  return {
    clock,
    pass: (ms) => {
      now += ms
    },
  }
}

async function reportOf(over: Partial<HostReport> = {}): Promise<HostReport> {
  const never = async (): Promise<never> => Promise.reject(new Error('not used'))
  const report = await new FakeHost(host, { report: never, transition: never }).agent.report()
  return { ...report, ...over }
}

test('an older report of a session, and any of a session that was replaced, are dropped', async () => {
  const registry = new HostRegistry(worldAt().clock)
  assert.equal(registry.accept(await reportOf({ session: 'a', sequence: 5 })), true)
  assert.equal(registry.accept(await reportOf({ session: 'a', sequence: 5 })), false)
  assert.equal(registry.accept(await reportOf({ session: 'a', sequence: 4 })), false)
  assert.equal(registry.accept(await reportOf({ session: 'b', sequence: 1 })), true)
  assert.equal(registry.accept(await reportOf({ session: 'a', sequence: 9 })), false)
  assert.equal(registry.report(host)?.session, 'b')
})

test('a silent host becomes unreachable, what it saw is not shown as now, and its return is told', async () => {
  const { clock, pass } = worldAt()
  const registry = new HostRegistry(clock)
  const record = { id: host, confirmedOff: false, facts: null } as HostRecord
  assert.equal(registry.stateOf(record), 'never-seen')
  const told: boolean[] = []
  using _told = registry.onReport((_host, wasAway) => told.push(wasAway))
  const vm = 'vm-1' as VmId
  const seen = { vm, process: 'running' } as HostReport['vms'][number]
  registry.accept(await reportOf({ sequence: 1, vms: [seen], sentAt: new Date(clock.now() + 2500).toISOString() }))
  assert.equal(registry.stateOf(record), 'connected')
  assert.equal(registry.known(host)?.clockSkewMs, 2500)
  assert.equal(registry.observation(host, vm)?.process, 'running')
  pass(unreachableAfterMs + 1)
  assert.equal(registry.stateOf(record), 'unreachable')
  assert.equal(registry.stateOf({ ...record, confirmedOff: true }), 'confirmed-off')
  assert.equal(registry.observation(host, vm), undefined)
  assert.equal(registry.silentMs(host), unreachableAfterMs + 1)
  registry.accept(await reportOf({ sequence: 2 }))
  registry.accept(await reportOf({ sequence: 3 }))
  assert.deepEqual(told, [true, true, false])
})

test('a host has gone on reporting since the last gap of more than one report', async () => {
  const { clock, pass } = worldAt()
  const registry = new HostRegistry(clock)
  assert.equal(registry.steadyMs(host), 0)
  for (let sequence = 1; sequence <= 4; sequence++) {
    registry.accept(await reportOf({ sequence }))
    pass(sequence === 2 ? 4000 : 2000)
  }
  assert.equal(registry.steadyMs(host), 10_000)
  pass(2001)
  registry.accept(await reportOf({ sequence: 5 }))
  assert.equal(registry.steadyMs(host), 0)
})
