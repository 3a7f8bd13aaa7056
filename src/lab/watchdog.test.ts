import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Files } from '../base/files.ts'
import { silentLogger } from '../base/log.ts'
import type { LabPorts } from './ports.ts'
import { Watchdogs } from './watchdog.ts'

/** Timers that fire when the test says so, and one file. */
function world() {
  let now = 0
  const timers = new Map<object, { at: number; callback: () => void }>()
  let text: string | undefined
  const clock: LabPorts['clock'] = {
    now: () => now,
    monotonic: () => now,
    sleep: async () => undefined,
    timer(ms, callback) {
      const key = {}
      timers.set(key, { at: now + ms, callback })
      return { [Symbol.dispose]: () => void timers.delete(key) }
    },
  }
  const files = {
    async readText() {
      if (text === undefined) throw new Error('none')
      return text
    },
    async write(_: string, data: string) {
      text = data
    },
  } as unknown as Files
  const advance = async (ms: number): Promise<void> => {
    now += ms
    for (const [key, timer] of timers) {
      if (timer.at > now) continue
      timers.delete(key)
      timer.callback()
    }
    for (let i = 0; i < 5; i++) await Promise.resolve()
  }
  const bitten: string[] = []
  const open = () => Watchdogs.open({ clock, files }, '/w', silentLogger, async (host) => void bitten.push(host))
  return { open, advance, bitten }
}

test('a watchdog that is petted does not bite; one that is not does, once', async () => {
  const { open, advance, bitten } = world()
  const dogs = await open()
  await dogs.handle('host1', { verb: 'arm', termMs: 1000 })
  for (let i = 0; i < 5; i++) {
    await advance(900)
    await dogs.handle('host1', { verb: 'pet' })
  }
  assert.deepEqual(bitten, [])
  await advance(1000)
  await advance(5000)
  assert.deepEqual(bitten, ['host1'])
  await assert.rejects(dogs.handle('host1', { verb: 'pet' }), { code: 'wrong-state' })
})

test('a disarmed watchdog never bites', async () => {
  const { open, advance, bitten } = world()
  const dogs = await open()
  await dogs.handle('host1', { verb: 'arm', termMs: 1000 })
  await dogs.handle('host1', { verb: 'disarm' })
  await advance(5000)
  assert.deepEqual(bitten, [])
})

test('an armed watchdog is armed again after a restart, with its whole term', async () => {
  const { open, advance, bitten } = world()
  await (await open()).handle('host1', { verb: 'arm', termMs: 1000 })
  await advance(900)
  const again = await open()
  assert.equal(again.termMs('host1'), 1000)
  await advance(999)
  assert.deepEqual(bitten, ['host1'], 'the first keeper lives on in this test')
  await advance(1)
  assert.deepEqual(bitten, ['host1', 'host1'])
})

test('a term out of range is refused', async () => {
  const dogs = await world().open()
  await assert.rejects(dogs.handle('host1', { verb: 'arm', termMs: 1 }), { code: 'invalid-request' })
  await assert.rejects(dogs.handle('host1', { verb: 'arm' }), { code: 'invalid-request' })
})
