/** Guests of other kinds than the smallest, held in step by two pumps: other hardware, and more memory than a link carries. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import type { MachineConfig } from '../../src/hypervisor/hypervisor.ts'
import { Console, eventually } from './hypervisor-guest.ts'
import { Pair, secondAddress, Ticks, vm } from './pump-pair.ts'

const build = join(import.meta.dirname, '../../dev/guests/build')

/** Of a Debian for all machines: with drivers for hardware that clouds do not have, and ports that programs may use. */
function generalKernel(): MachineConfig['kernelBoot'] {
  const folder = execFileSync(build, ['busybox-general'], { encoding: 'utf8' }).trim().split('\n').at(-1) ?? ''
  const cmdline = 'console=ttyS0 quiet no_timer_check'
  return { kernel: join(folder, 'vmlinuz'), initrd: join(folder, 'initrd.gz'), cmdline }
}

test('q35 with four vCPUs, a disk behind AHCI and two e1000 NICs goes on when its host dies', async (t) => {
  await using pair = await Pair.open({
    ...{ disk: 'raw', bus: 'ide', nics: ['e1000', 'e1000'] },
    more: {
      ...{ machine: 'q35', machineType: 'pc-q35-7.2', vcpus: 4, memoryMiB: 256, video: 'std' },
      kernelBoot: generalKernel(),
    },
  })
  await pair.serial.command('disk write /dev/sda 200 1')
  using one = new Ticks()
  using other = new Ticks(secondAddress)
  await eventually('ticks on both NICs', () => (one.count > 100 && other.count > 100) || undefined)
  // Each vCPU has something to do.
  pair.serial.type('for i in 1 2 3; do (while :; do :; done) & done\n')
  one.longestSilence = other.longestSilence = 0
  pair.kill()
  await pair.untilRunning()
  const [from, otherFrom] = [one.count, other.count]
  await eventually('ticks go on', () => (one.count > from + 100 && other.count > otherFrom + 100) || undefined)
  t.diagnostic(`longest silence ${Math.round(Math.max(one.longestSilence, other.longestSilence))} ms`)
  assert.deepEqual([...one.problems, ...other.problems], [])
  const there = await Console.open(pair.waiting)
  assert.match(await there.command('disk verify /dev/sda 200 1'), /ok|verified|good/i)
  assert.equal(await there.command('grep -c ^processor /proc/cpuinfo'), '4')
  there.close()
})

test('a guest that writes more than the link carries is held back, stays protected, and is whole at the second', async (t) => {
  await using pair = await Pair.open({ bytesPerSecond: 30e6, more: { memoryMiB: 256 } })
  using ticks = new Ticks()
  await eventually('ticks under protection', () => ticks.count > 100 || undefined)
  assert.equal(pair.pump.status.heldBack, 0)
  pair.serial.type('dirty 120 & sleep 1\n')
  await eventually(
    () => `the guest held back: ${JSON.stringify(pair.pump.status)}`,
    () => pair.pump.status.heldBack > 0.05 || undefined,
  )
  const { epoch } = pair.pump.status
  await eventually(
    () => `epochs after ${epoch}: ${JSON.stringify(pair.pump.status)}`,
    () => pair.pump.status.epoch > epoch + 5 || undefined,
  )
  t.diagnostic(`held back ${Math.round(pair.pump.status.heldBack * 100)} % of the time`)
  assert.equal(pair.pump.status.phase, 'protecting')
  pair.kill()
  await pair.untilRunning()
  const from = ticks.count
  await eventually('ticks at the second', () => ticks.count > from + 100 || undefined)
  assert.deepEqual(ticks.problems, [])
  const there = await Console.open(pair.waiting)
  await there.command('killall dirty')
  there.close()
})

test('a guest that panics is not held any more, and stands still as a panicked one does', async () => {
  await using pair = await Pair.open({ more: { kernelBoot: generalKernel() } })
  // By the port of QEMU's pvpanic device, as its driver does (docs/specs/pvpanic): the kernel itself lives on.
  pair.serial.type(
    "mknod /dev/port c 1 4; printf '\\001' | dd of=/dev/port bs=1 seek=$((0x505)) count=1 conv=notrunc\n",
  )
  await pair.pump.gone
  assert.equal((await pair.hosts[0].pumps.memory(vm))?.phase, 'alone')
  assert.equal(await pair.machine.state(), 'panicked')
})
