import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { HostId, VmId } from '../../base/ids.ts'
import { silentLogger } from '../../base/log.ts'
import type { ProtectionConfig, ProtectionSide } from '../../contracts/protection.ts'
import { MemoryFiles } from '../../sim/memory-files.ts'
import { SeededRandom } from '../../sim/seeded-random.ts'
import { Arbiter } from './arbiter.ts'

const vm = 'vm-7' as VmId
const folder = '/data/arbiter'
const config = (n: number): ProtectionConfig => ({
  ...{ vm, n, primary: 'host-1' as HostId, second: 'host-2' as HostId, arbiter: 'host-3' as HostId },
})

function world(files = new MemoryFiles()) {
  const ports = { files, random: new SeededRandom(1), log: silentLogger }
  return { files, open: () => Arbiter.open(ports, folder) }
}

test('an arbiter that restarts remembers what it has decided, and is the same', async () => {
  const { files, open } = world()
  const before = await open()
  await before.openConfiguration(config(1), before.life)
  assert.deepEqual(await before.claim(vm, 1, 'second'), { is: 'won' })
  files.crash()
  const after = await open()
  assert.equal(after.life, before.life)
  assert.deepEqual(await after.claim(vm, 1, 'primary'), { is: 'lost' })
  assert.deepEqual(await after.claim(vm, 1, 'second'), { is: 'won' })
})

test('wherever the power fails while both sides ask, one of them at most has been told yes', async () => {
  let steps = 1
  for (let isOver = false; !isOver; steps++) {
    const { files, open } = world()
    const first = await open()
    await first.openConfiguration(config(1), first.life)
    files.crashAfter(steps)
    const told: ProtectionSide[] = []
    const ask = async (arbiter: Arbiter, side: ProtectionSide): Promise<void> => {
      const answer = await arbiter.claim(vm, 1, side).catch(() => undefined)
      if (answer?.is === 'won' && !told.includes(side)) told.push(side)
    }
    await Promise.all([ask(first, 'primary'), ask(first, 'second')])
    isOver = told.length === 1
    files.boot()
    const second = await open()
    await ask(second, 'second')
    await ask(second, 'primary')
    assert.equal(told.length, 1, `power lost after ${steps} steps`)
  }
  assert.ok(steps > 3)
})

test('one that has lost its memory says so, and a late message does not make it remember', async () => {
  const { open } = world()
  const before = await open()
  await before.openConfiguration(config(1), before.life)
  const after = await Arbiter.open(emptied(), folder)
  assert.notEqual(after.life, before.life)
  assert.deepEqual(await after.claim(vm, 1, 'primary'), { is: 'unknown' })
  await assert.rejects(after.openConfiguration(config(1), before.life), { code: 'refused', message: /lost its memory/ })
  await after.openConfiguration(config(2), after.life)
  assert.deepEqual(await after.claim(vm, 2, 'primary'), { is: 'won' })
})

function emptied() {
  return { files: new MemoryFiles(), random: new SeededRandom(2), log: silentLogger }
}

test('a damaged register is a lost memory, kept aside for people, and the others are read', async () => {
  const { files, open } = world()
  const before = await open()
  const other = { ...config(4), vm: 'vm-8' as VmId }
  await before.openConfiguration(config(1), before.life)
  await before.openConfiguration(other, before.life)
  await files.replace(`${folder}/${vm}.json`, '{"config":')
  const after = await open()
  assert.notEqual(after.life, before.life)
  assert.deepEqual(await after.look(vm, 1, 'primary'), { is: 'unknown' })
  assert.deepEqual(await after.look(other.vm, 4, 'primary'), { is: 'open' })
  assert.ok((await files.list(folder)).includes(`${vm}.json.damaged`))
})

test('an older configuration is refused with the newest number', async () => {
  const { open } = world()
  const arbiter = await open()
  await arbiter.openConfiguration(config(3), arbiter.life)
  await assert.rejects(arbiter.openConfiguration(config(2), arbiter.life), { code: 'refused', details: { newest: 3 } })
})

test('where the answer cannot be made durable there is none, and nothing is decided', async () => {
  const { files, open } = world()
  const arbiter = await open()
  await arbiter.openConfiguration(config(1), arbiter.life)
  files.crashAfter(1)
  await assert.rejects(arbiter.claim(vm, 1, 'primary'))
  files.boot()
  const after = await open()
  assert.deepEqual(await after.claim(vm, 1, 'second'), { is: 'won' })
})
