/**
 * Two pumps and two real QEMUs on one machine: a guest is held in step, its host dies, and a client that counts its ticks
 * misses none.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Console, eventually } from './hypervisor-guest.ts'
import { kill, Pair, Ticks, vm } from './pump-pair.ts'

test('what a guest was told is on its disk is there after its host has died', async () => {
  await using pair = await Pair.open({ disk: 'qcow2' })
  await pair.serial.command('disk write /dev/vda 200 1')
  pair.serial.type('disk churn /dev/vda 150\n')
  await pair.serial.until(/disk: .*generation [4-9]/)
  pair.kill()
  await pair.untilRunning()
  const there = await Console.open(pair.waiting)
  // The churn goes on where it was, and checks each block that it wrote.
  const seen = await there.until(/disk: .*generation (1[2-9])/)
  assert.doesNotMatch(there.text, /BAD/, seen)
  there.close()
})

test('protection is ended, and the second gives its copy up', async () => {
  await using pair = await Pair.open({ disk: 'raw' })
  using ticks = new Ticks()
  await eventually('ticks under protection', () => ticks.count > 100 || undefined)
  await pair.pump.end()
  await pair.pump.gone
  await pair.secondPump.gone
  assert.equal((await pair.hosts[0].pumps.memory(vm))?.phase, 'alone')
  assert.equal((await pair.hosts[1].pumps.memory(vm))?.phase, 'dropped')
  const from = ticks.count
  await eventually('ticks without protection', () => ticks.count > from + 100 || undefined)
  assert.deepEqual(ticks.problems, [])
  assert.match(await pair.serial.command('disk write /dev/vda 20 1 && disk verify /dev/vda 20 1'), /ok|verified|good/i)
})

test('a guest is handed over: it goes on at the second, and the primary has ended it', async (t) => {
  await using pair = await Pair.open({ more: { machine: 'q35', machineType: 'pc-q35-7.2', vcpus: 2, video: 'std' } })
  using ticks = new Ticks()
  await eventually('ticks under protection', () => ticks.count > 100 || undefined)
  ticks.longestSilence = 0
  await pair.pump.handOver()
  await pair.pump.gone
  await pair.untilRunning()
  assert.equal((await pair.hosts[0].pumps.memory(vm))?.phase, 'lost')
  assert.equal(await pair.machine.state(), 'gone')
  const from = ticks.count
  await eventually('ticks at the second', () => ticks.count > from + 100 || undefined)
  t.diagnostic(`longest silence ${Math.round(ticks.longestSilence)} ms`)
  assert.deepEqual(ticks.problems, [])
})

test('when its pump dies, and the second with it, the guest has its network back once another has asked the arbiter', async (t) => {
  await using pair = await Pair.open()
  using ticks = new Ticks()
  await eventually('ticks under protection', () => ticks.count > 100 || undefined)
  ticks.longestSilence = 0
  kill(pair.folders[1])
  kill(pair.folders[0])
  await pair.pump.gone
  await using salvage = await pair.hosts[0].pumps.salvage(vm)
  await salvage.gone
  assert.equal((await pair.hosts[0].pumps.memory(vm))?.phase, 'alone')
  const from = ticks.count
  await eventually('ticks again', () => ticks.count > from + 100 || undefined)
  t.diagnostic(`longest silence ${Math.round(ticks.longestSilence)} ms`)
  assert.deepEqual(ticks.problems, [])
  // The second's copy is not to be trusted any more.
  await using dropped = await pair.hosts[1].pumps.salvage(vm)
  await dropped.gone
  assert.equal((await pair.hosts[1].pumps.memory(vm))?.phase, 'dropped')
  assert.equal(await pair.waiting.state(), 'gone')
})
