import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { inflateSync } from 'node:zlib'
import type { ProcessId, Processes } from '../../src/base/processes.ts'
import type { MachineConfig } from '../../src/hypervisor/hypervisor.ts'
import { qemuHypervisor } from '../../src/hypervisor/qemu-hypervisor.ts'
import { deps, eventually, record, TestHost, untilState } from './hypervisor-guest.ts'

test('a guest boots to its serial line, pauses, goes on, and is reset', async () => {
  await using host = await TestHost.open()
  const machine = await host.start(await host.config('a'))
  assert.equal(await machine.state(), 'prelaunch')
  await machine[Symbol.asyncDispose]()

  await using again = await host.hypervisor.adopt('a', join(host.folder, 'a'))
  assert.ok(again)
  assert.equal(again.pid, machine.pid)
  const events = record(again)
  const { Console } = await import('./hypervisor-guest.ts')
  const serial = await Console.open(again)
  await again.resume()
  await serial.until(/holdfast-guest: ready/)
  assert.equal(await again.state(), 'running')
  assert.match(await serial.command('uname -s'), /Linux/)

  await again.pause()
  assert.equal(await again.state(), 'paused')
  await again.resume()
  assert.match(await serial.command('echo alive'), /alive/)
  const usage = await again.usage()
  assert.ok(usage.cpuSeconds > 0.5 && usage.rssMiB > 20, JSON.stringify(usage))
  assert.match(await readFile(join(host.folder, 'a/q/serial.log'), 'latin1'), /holdfast-guest: ready/)

  const before = serial.text.length
  await again.reset()
  await eventually('a second boot', () => (/holdfast-guest: ready/.test(serial.text.slice(before)) ? true : undefined))
  serial.type('poweroff\n')
  await untilState(again, 'shutdown')
  const kinds = events
    .filter((event) => event.kind !== 'ran')
    .map((event) => (event.kind === 'state' ? event.state : event.kind))
  assert.deepEqual(
    kinds.filter((kind, at) => kind !== kinds[at - 1]),
    ['running', 'paused', 'running', 'reset', 'shutdown'],
  )
  await again.quit()
  assert.equal(await again.state(), 'gone')
  await eventually('the last event', () => (events.at(-1)?.kind === 'gone' ? true : undefined))
  assert.equal(await host.hypervisor.adopt('a', join(host.folder, 'a')), undefined)
  serial.close()
})

test('the power button reaches the guest', async () => {
  await using host = await TestHost.open()
  const { machine } = await host.boot(await host.config('a'))
  await machine.powerButton()
  await untilState(machine, 'shutdown')
})

test('a QEMU that cannot start says why, and leaves no process', async () => {
  await using host = await TestHost.open()
  const config = await host.config('a', { cpuModel: 'no-such-model' })
  await assert.rejects(host.start(config), /no-such-model/)
  assert.equal(await host.hypervisor.adopt('a', config.runDirectory), undefined)
})

test('a second start in the same folder is refused while the first one lives', async () => {
  await using host = await TestHost.open()
  const config = await host.config('a', { kernelBoot: null, memoryMiB: 16 })
  await host.start(config)
  await assert.rejects(host.hypervisor.start(config, 'prelaunch'), { code: 'wrong-state' })
})

/** A host whose agent dies at the moment that `started` is called: nothing of the start goes on after it. */
async function cutShort(host: TestHost, started: Processes['startDetached']): Promise<MachineConfig> {
  const config = await host.config('cut', { kernelBoot: null, memoryMiB: 16 })
  const { promise, resolve } = Promise.withResolvers<void>()
  const dying: Processes = {
    ...deps.processes,
    async startDetached(...launch) {
      await started(...launch)
      resolve()
      return await new Promise(() => undefined)
    },
  }
  const settings = { probeFile: join(host.folder, 'probe.json'), accelerator: 'tcg' as const }
  void qemuHypervisor({ ...deps, processes: dying }, settings).start(config, 'prelaunch')
  await promise
  return config
}

test('a QEMU whose agent died before it knew which process that is, is found and ended', async () => {
  await using host = await TestHost.open()
  const pids: ProcessId[] = []
  for (const isUp of [false, true]) {
    const config = await cutShort(host, async (...launch) => {
      const id = await deps.processes.startDetached(...launch)
      pids.push(id)
      return id
    })
    const id = pids.at(-1)
    assert.ok(id && (await deps.processes.isAlive(id)))
    if (isUp) {
      await eventually('its control socket', async () =>
        (await deps.files.stat(join(config.runDirectory, 'q/qmp'))) === undefined ? undefined : true,
      )
    }
    assert.equal(await host.hypervisor.adopt('cut', config.runDirectory), undefined)
    assert.equal(await deps.processes.isAlive(id), false)
  }
  // And the folder is good for a new start.
  await host.start(await host.config('cut', { kernelBoot: null, memoryMiB: 16 }))
})

test('a program that comes to run only after its launch was given up does not become QEMU', async () => {
  await using host = await TestHost.open()
  let launch: Parameters<Processes['startDetached']> | undefined
  const config = await cutShort(host, async (...asked) => {
    launch = asked
    return { pid: 0, startTicks: 0 }
  })
  assert.equal(await host.hypervisor.adopt('cut', config.runDirectory), undefined)
  assert.ok(launch)
  const { code, stderr } = await deps.processes.run(launch[0], launch[1])
  assert.deepEqual([code, stderr], [1, ''])
})

test('a killed QEMU is gone, and tells so last', async () => {
  await using host = await TestHost.open()
  const machine = await host.start(await host.config('a', { kernelBoot: null, memoryMiB: 16 }))
  const events = record(machine)
  const id = await deps.processes.identify(machine.pid)
  assert.ok(id)
  await deps.processes.signal(id, 'SIGKILL')
  await eventually('the last event', () => (events.at(-1)?.kind === 'gone' ? true : undefined))
  assert.equal(await machine.state(), 'gone')
  await assert.rejects(machine.resume(), { code: 'unreachable' })
})

test('a frozen QEMU is ended all the same', async () => {
  await using host = await TestHost.open()
  const machine = await host.start(await host.config('a', { kernelBoot: null, memoryMiB: 16 }))
  const id = await deps.processes.identify(machine.pid)
  assert.ok(id)
  await deps.processes.signal(id, 'SIGSTOP')
  await machine.quit()
  assert.equal(await machine.state(), 'gone')
})

test('a screenshot is a PNG and not blank, on pc and q35', async () => {
  await using host = await TestHost.open()
  for (const kind of ['pc', 'q35'] as const) {
    const machineType = kind === 'pc' ? 'pc-i440fx-7.2' : 'pc-q35-7.2'
    const machine = await host.start(
      await host.config(kind, { machine: kind, machineType, video: 'std', kernelBoot: null, memoryMiB: 32 }),
    )
    await machine.resume()
    // SeaBIOS writes its version and that there is nothing to boot.
    await eventually('text on the screen', async () => {
      const picture = pixels(await machine.screenshot())
      const lit = picture.data.filter((value) => value > 100).length
      return picture.width >= 640 && lit > 500 ? true : undefined
    })
    await machine.quit()
  }
})

function pixels(png: Uint8Array): { width: number; data: Buffer } {
  const buffer = Buffer.from(png)
  assert.equal(buffer.subarray(1, 4).toString(), 'PNG')
  const at = buffer.indexOf('IDAT')
  return {
    width: buffer.readUInt32BE(16),
    data: inflateSync(buffer.subarray(at + 4, at + 4 + buffer.readUInt32BE(at - 4))),
  }
}
