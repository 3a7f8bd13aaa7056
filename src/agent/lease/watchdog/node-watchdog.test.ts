/** The watchdog's program as a real process, over real processes that stand for QEMUs. */
import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { VmId } from '../../../base/ids.ts'
import { nodeClock, nodeFiles, nodeProcesses } from '../../../base/node/index.ts'
import type { ProcessId } from '../../../base/processes.ts'
import type { WatchdogWord } from './files.ts'
import { NodeWatchdog } from './node-watchdog.ts'

const [vm1, vm2] = ['vm-1', 'vm-2'] as VmId[] as [VmId, VmId]
const ports = { clock: nodeClock(), files: nodeFiles(), processes: nodeProcesses() }

async function stage(hardware: string | null = null) {
  const folder = await mkdtemp(join(tmpdir(), 'hf-watchdog-'))
  const runRoot = join(folder, 'vms')
  const make = (): NodeWatchdog =>
    new NodeWatchdog({
      ...{
        ...ports,
        runRoot,
        folder: join(folder, 'lease'),
        hardware: hardware === null ? null : join(folder, hardware),
      },
      program: [process.execPath, fileURLToPath(new URL('main.ts', import.meta.url))],
    })
  const qemu = async (vm: VmId): Promise<ProcessId> => {
    await ports.files.makeDirectory(join(runRoot, vm))
    const found = await ports.processes.startDetached('sleep', ['600'], { logFile: '/dev/null' })
    await ports.files.write(join(runRoot, vm, 'machine.json'), JSON.stringify({ process: found }))
    return found
  }
  const program = async (): Promise<ProcessId> =>
    (JSON.parse(await ports.files.readText(join(folder, 'lease/watchdog.json'))) as WatchdogWord).process
  const end = async (...processes: ProcessId[]): Promise<void> => {
    for (const each of processes) await ports.processes.signal(each, 'SIGKILL')
    await rm(folder, { recursive: true, force: true })
  }
  return { folder, make, qemu, program, end }
}

/** A machine's watchdog, and what it was told; each pet comes after a look that found nothing to kill, or nothing left. */
async function fakeDog(folder: string) {
  const verbs: string[] = []
  let told: () => void = () => undefined
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy())
    socket.on('data', (data) => {
      verbs.push((JSON.parse(data.toString('utf8')) as { verb: string }).verb)
      socket.write('{}\n')
      told()
    })
  })
  await new Promise<void>((resolve) => server.listen(join(folder, 'dog.sock'), resolve))
  /** Until it was told so many more things. */
  const hear = async (count: number): Promise<void> => {
    const until = verbs.length + count
    while (verbs.length < until) await new Promise<void>((resolve) => (told = resolve))
  }
  return { verbs, hear, [Symbol.dispose]: () => server.close() }
}

test('what is armed is killed when the deadline is over, nothing else, and without the agent', async () => {
  const { folder, make, qemu, program, end } = await stage('dog.sock')
  using dog = await fakeDog(folder)
  const [armed, other] = [await qemu(vm1), await qemu(vm2)]
  const watchdog = make()
  await watchdog.order({ deadlineMs: ports.clock.monotonic() + 60_000, armed: [vm1] })
  const first = await program()
  await dog.hear(2)
  assert.equal(await ports.processes.isAlive(armed), true)
  // Another agent goes on with the program that runs.
  const again = make()
  assert.deepEqual((await again.ordered())?.armed, [vm1])
  await again.order({ deadlineMs: ports.clock.monotonic(), armed: [vm1] })
  await ports.processes.waitGone(armed)
  assert.deepEqual([await again.areGone([vm1]), await again.areGone([vm2])], [true, false])
  assert.equal(await ports.processes.isAlive(other), true)
  // One that comes later is ended too: the order holds until another is given.
  await ports.processes.waitGone(await qemu(vm1))
  assert.deepEqual(await program(), first)
  await end(first, other)
})

test('a program that was killed is started again with the next order, and a released host is let alone', async () => {
  const { folder, make, qemu, program, end } = await stage('dog.sock')
  using dog = await fakeDog(folder)
  const armed = await qemu(vm1)
  const watchdog = make()
  await watchdog.order({ deadlineMs: null, armed: [vm1] })
  const first = await program()
  await dog.hear(2)
  assert.equal(await ports.processes.isAlive(armed), true)
  await ports.processes.signal(first, 'SIGKILL')
  await ports.processes.waitGone(first)
  await watchdog.order({ deadlineMs: null, armed: [vm1] })
  const second = await program()
  assert.notDeepEqual(second, first)
  // The program says so before it looks for the first time.
  await dog.hear(2)
  assert.equal(await ports.processes.isAlive(armed), true)
  await end(second, armed)
})

test('the hardware is armed with the first order, and petted while all is well', async () => {
  const { folder, make, program, end } = await stage('dog.sock')
  using dog = await fakeDog(folder)
  const watchdog = make()
  await watchdog.order({ deadlineMs: ports.clock.monotonic() + 60_000, armed: [vm1] })
  assert.equal(watchdog.hardwareMs, 2000)
  while (dog.verbs.length < 3) await dog.hear(1)
  assert.deepEqual(dog.verbs.slice(0, 3), ['arm', 'pet', 'pet'])
  await end(await program())
})
