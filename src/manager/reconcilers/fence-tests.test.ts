import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { HostId } from '../../base/ids.ts'
import { silentLogger } from '../../base/log.ts'
import { VirtualClock } from '../../sim/virtual-clock.ts'
import type { FenceOrder } from '../sagas/fence-deps.ts'
import type { FenceReconcilerDeps } from './fence-hosts.ts'
import { FenceTests } from './fence-tests.ts'

test('devices that hang are asked side by side, keep no look, and are given up when the manager stops', async () => {
  const clock = new VirtualClock()
  const devices = { levels: [[{ agent: 'fence_sim', options: {}, secrets: {} }]], then: 'on', test: null }
  const records = Array.from({ length: 12 }, (_, n) => ({
    id: `host-${n + 1}` as HostId,
    name: `h${n}`,
    fence: devices,
  }))
  const asked = new Set<HostId>()
  let commits = 0
  const deps = {
    ...{ clock, log: silentLogger, hosts: { report: () => undefined } },
    inventory: { list: (kind: string) => (kind === 'host' ? records : []) },
    store: {
      get: async (_: string, id: HostId) => ({ value: records.find((each) => each.id === id), revision: 1 }),
      list: async () => ({ items: [] }),
      commit: async () => {
        commits++
        return { ok: true }
      },
    },
    fence: {
      status: async ({ host, timeoutMs, signal }: FenceOrder) => {
        asked.add(host)
        await clock.sleep(timeoutMs, signal)
        throw new Error('did not end')
      },
    },
  }
  const tests = new FenceTests(deps as unknown as FenceReconcilerDeps)
  await tests.look()
  await clock.advance(1000)
  assert.equal(asked.size, 8)
  await clock.advance(20_000)
  assert.equal(commits, 8)
  await tests.look()
  await clock.advance(1000)
  assert.equal(asked.size, 12)
  const at = clock.monotonic()
  await tests[Symbol.asyncDispose]()
  assert.equal(clock.monotonic(), at, 'it waits for none of them')
  assert.equal(commits, 8, 'that it was given up says nothing of a device')
})
