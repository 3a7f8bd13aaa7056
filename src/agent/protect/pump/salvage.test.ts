import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { HostId, VmId } from '../../../base/ids.ts'
import { silentLogger } from '../../../base/log.ts'
import type { Processes } from '../../../base/processes.ts'
import { claimed, looked, opened, superseded } from '../../../contracts/protection-register.ts'
import type { ArbiterApi, ProtectionConfig, ProtectionSide, RegisterRecord } from '../../../contracts/protection.ts'
import { MemoryFiles } from '../../../sim/memory-files.ts'
import { VirtualClock } from '../../../sim/virtual-clock.ts'
import type { MemoryPhase } from '../pumps.ts'
import { addressOf } from './arbiters.ts'
import { PumpMemoryFile } from './memory-file.ts'
import { Salvage } from './salvage.ts'

const vm = 'vm-1' as VmId
const config: ProtectionConfig = {
  ...{ vm, n: 2, primary: 'host-1' as HostId, second: 'host-2' as HostId, arbiter: 'host-3' as HostId },
}
const address = { arbiter: config.arbiter, urls: ['https://h3'], tlsName: 'host-3.holdfast' }

const moved = { urls: ['https://h4'], tlsName: 'host-4.holdfast' }
const nextConfig: ProtectionConfig = { ...config, n: 3, arbiter: 'host-4' as HostId, at: moved }

/** What follows a dead pump of this side, by a register that is so; its QEMU is gone. */
async function salvaged(side: ProtectionSide, phase: MemoryPhase, register: RegisterRecord | undefined) {
  let held = register
  let replays = 0
  const no = (): Promise<never> => Promise.reject(new Error('not asked here'))
  const arbiter: ArbiterApi = {
    arbiterClaim: ({ n, side: asked }) => {
      const { answer, record } = claimed(held, n, asked)
      held = record ?? held
      return Promise.resolve(answer)
    },
    arbiterLook: ({ n, side: asked }) => Promise.resolve(looked(held, n, asked)),
    ...{ arbiterLife: no, arbiterOpen: no, arbiterSupersede: no },
  }
  let heldNext = opened(undefined, nextConfig)
  const next: ArbiterApi = {
    arbiterClaim: ({ n, side: asked }) => {
      const { answer, record } = claimed(heldNext, n, asked)
      heldNext = record ?? heldNext
      return Promise.resolve(answer)
    },
    arbiterLook: ({ n, side: asked }) => Promise.resolve(looked(heldNext, n, asked)),
    ...{ arbiterLife: no, arbiterOpen: no, arbiterSupersede: no },
  }
  const memory = new PumpMemoryFile(new MemoryFiles(), '/data', vm)
  const deps = {
    ...{ clock: new VirtualClock(), log: silentLogger, processes: {} as Processes, memory },
    arbiter: (of: ProtectionConfig) => (addressOf(of, address).tlsName === moved.tlsName ? next : arbiter),
    replay: () => {
      replays++
      return Promise.resolve()
    },
  }
  const left = { v: 1, side, phase, config, arbiter: address, lastN: config.n, reason: null } as const
  const order = { vm, arbiter: address, copies: [], runDirectory: '/run/vm-1' }
  const end = await new Salvage(deps, order, left, { record: undefined, qmp: undefined }).run()
  assert.equal((await memory.read())?.phase, end)
  const { n } = (await memory.read())?.config ?? config
  return { end, replays, winner: n === nextConfig.n ? heldNext?.winner : held?.winner, ...(n === 2 ? {} : { n }) }
}

const open = opened(undefined, config)
const wonBy = (side: ProtectionSide): RegisterRecord | undefined => claimed(open, 2, side).record ?? undefined
const newer = opened(open, { ...config, n: 3 })

describe('after a dead pump of the primary', () => {
  test('it asks for the VM, and is told whose it is', async () => {
    assert.deepEqual(await salvaged('primary', 'bound', open), { end: 'alone', replays: 0, winner: 'primary' })
    assert.deepEqual(await salvaged('primary', 'bound', wonBy('second')), { end: 'lost', replays: 0, winner: 'second' })
  })

  test('that never was bound it asks nobody', async () => {
    assert.deepEqual(await salvaged('primary', 'syncing', open), { end: 'alone', replays: 0, winner: null })
  })
})

describe('after a dead pump of the second', () => {
  test('it gives the VM to the primary, so that a claim which is still on its way comes too late', async () => {
    assert.deepEqual(await salvaged('second', 'bound', open), { end: 'dropped', replays: 0, winner: 'primary' })
  })

  test('that had won, its images are brought up to date, and are the VM’s', async () => {
    assert.deepEqual(await salvaged('second', 'bound', wonBy('second')), {
      end: 'running',
      replays: 1,
      winner: 'second',
    })
  })

  test('of a pair that is past, or that nobody remembers, nothing is written to its images', async () => {
    assert.deepEqual(await salvaged('second', 'bound', newer), { end: 'dropped', replays: 0, winner: null })
    assert.deepEqual(await salvaged('second', 'bound', undefined), { end: 'dropped', replays: 0, winner: undefined })
    assert.deepEqual(await salvaged('second', 'candidate', open), { end: 'dropped', replays: 0, winner: null })
  })
})

test('after a dead pump that was not told of another arbiter, the old one says where that is asked', async () => {
  const sentOn = superseded(open, 2, nextConfig).record ?? undefined
  assert.deepEqual(await salvaged('primary', 'bound', sentOn), { end: 'alone', replays: 0, winner: 'primary', n: 3 })
  assert.deepEqual(await salvaged('second', 'bound', sentOn), { end: 'dropped', replays: 0, winner: 'primary', n: 3 })
})
