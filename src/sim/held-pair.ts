/** What the tests of protected VMs share: a VM on host-1, held in step on host-2. */
import assert from 'node:assert/strict'
import type { HostId } from '../base/ids.ts'
import type { ChangeArbiterRequest } from '../contracts/agent-api.ts'
import { AgentWorld, testVm } from './agent-world.ts'

export const here = '10.0.0.1'
export const there = '10.0.0.2'

export async function started(): Promise<AgentWorld> {
  const world = await AgentWorld.boot()
  await world.startOnA()
  return world
}

export async function held(): Promise<AgentWorld> {
  const world = await started()
  await world.protect()
  return world
}

export function expectRecord(world: AgentWorld, host: string, protection: 'syncing' | 'protected' | null): void {
  const record = world.manager.record(testVm)
  assert.deepEqual([record.phase, record.host, record.protection?.phase ?? null], ['running', host, protection])
  assert.deepEqual(world.wire.violations, [])
}

/** The pair is over on both hosts, and nothing of it is remembered but that its number is used up. */
export async function expectForgotten(world: AgentWorld): Promise<void> {
  for (const host of [world.a, world.b]) {
    assert.equal(await host.pumps.memory(testVm), undefined, host.id)
    assert.equal((await (await host.keeper()).observe()).protection, null, host.id)
  }
}

export async function observations(world: AgentWorld): Promise<string[]> {
  const [a, b] = [await (await world.a.keeper()).observe(), await (await world.b.keeper()).observe()]
  return [a.process, a.protection?.phase ?? '-', b.process, b.protection?.phase ?? '-']
}

/** Another arbiter for the pair of number 1. */
export function anotherArbiter(
  world: AgentWorld,
  old: ChangeArbiterRequest['old'],
  next = 2,
  host = 'host-4',
): ChangeArbiterRequest {
  const { generation } = world.manager.record(testVm)
  const arbiter = { arbiter: host as HostId, urls: [`https://${host}`], tlsName: `${host}.holdfast` }
  return { generation, n: 1, next, arbiter, old }
}

export function noSignal(): AbortSignal {
  return new AbortController().signal
}
