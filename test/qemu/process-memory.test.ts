/** What a guest writes to its memory is known from outside, page by page, without anything of ours in its QEMU. */
import assert from 'node:assert/strict'
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { nodeProcessMemories } from '../../src/base/node/index.ts'
import { pageBytes, trackerKinds, type MemoryRange, type TrackerKind } from '../../src/base/process-memory.ts'
import { TestHost } from './hypervisor-guest.ts'

/** Where a QEMU has the RAM of its guest: its one anonymous mapping that is as large. */
async function ramOf(pid: number, memoryMiB: number): Promise<MemoryRange> {
  const bytes = memoryMiB * 2 ** 20
  for (const row of (await readFile(`/proc/${pid}/maps`, 'utf8')).split('\n')) {
    const [, from = '', to = '', rest = ''] = /^([0-9a-f]+)-([0-9a-f]+) rw-p (.*)$/.exec(row) ?? []
    const [start, end] = [Number(`0x${from}`), Number(`0x${to}`)]
    if (end - start === bytes && rest.startsWith('00000000 00:00 0')) return { start, bytes }
  }
  throw new Error(`no mapping of ${bytes} bytes in process ${pid}`)
}

interface Answer {
  readonly pages?: number
  readonly missed?: number
  readonly error?: string
}

/** A running memory-watcher.ts. */
class Watcher implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #answers: AsyncIterator<string>

  constructor(pid: number, { start, bytes }: MemoryRange, tracker: TrackerKind = 'userfaultfd') {
    const program = fileURLToPath(new URL('../support/memory-watcher.ts', import.meta.url))
    const args = [program, pid, start, bytes, tracker].map(String)
    const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] })
    this.#child = child
    this.#answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  }

  async ask(command: 'track' | 'take' | 'round' | 'stop'): Promise<Answer> {
    this.#child.stdin?.write(`${command}\n`)
    const next = await this.#answers.next()
    assert.ok(next.done !== true, 'the watcher ended')
    return JSON.parse(next.value) as Answer
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.stdin?.end()
    if (this.#child.exitCode === null) await once(this.#child, 'exit')
  }
}

async function reportsEachPage(tracker: TrackerKind): Promise<void> {
  await using host = await TestHost.open()
  const config = await host.config('t')
  const { machine, serial } = await host.boot(config)
  const ram = await ramOf(machine.pid, config.memoryMiB)
  await using watcher = new Watcher(machine.pid, ram, tracker)
  assert.deepEqual(await watcher.ask('track'), {})
  assert.deepEqual(await watcher.ask('take'), { pages: ram.bytes / pageBytes })
  await serial.command('{ dirty 4 >/dev/null 2>&1 & } ; echo begun')
  await machine.pause()
  await watcher.ask('round')
  let total = 0
  for (let round = 0; round < 5; round++) {
    await machine.resume()
    await serial.command('echo on')
    await machine.pause()
    const { pages = 0, missed } = await watcher.ask('round')
    assert.equal(missed, 0, `of ${pages} pages in round ${round}`)
    assert.deepEqual(await watcher.ask('take'), { pages: 0 }, 'a guest that stands still writes nothing')
    total += pages
  }
  assert.ok(total > 5 * 50 && total < 5 * 20_000, `${total} pages in 5 rounds`)
  assert.deepEqual(await watcher.ask('stop'), {})
  await machine.resume()
  assert.match(await serial.command('echo alive'), /alive/)
}

// The kernel at hand has no soft-dirty bits: that tracker is tried on handmade pagemaps alone (src/base/pagemap.test.ts).
for (const tracker of ['userfaultfd', 'comparison'] as const)
  test(`each page that a running guest writes is reported, and little else, by ${tracker}`, () =>
    reportsEachPage(tracker))

test('the trial of trackers says which work here, and leaves no process behind', async () => {
  const trials = await nodeProcessMemories().tryTrackers()
  assert.deepEqual(
    trials.map(({ kind }) => kind),
    [...trackerKinds],
  )
  const problems = Object.fromEntries(trials.map(({ kind, problem }) => [kind, problem]))
  assert.equal(problems['userfaultfd'], null)
  assert.equal(problems['comparison'], null)
  const hasSoftDirty = await kernelHasSoftDirty()
  if (hasSoftDirty) assert.equal(problems['soft-dirty'], null)
  else assert.match(problems['soft-dirty'] ?? '', /missed|told|EINVAL/)
})

/** By the kernel's own word: /proc/self/smaps names VM_SOFTDIRTY as `sd`. */
async function kernelHasSoftDirty(): Promise<boolean> {
  return /^VmFlags:.* sd\b/m.test(await readFile('/proc/self/smaps', 'utf8'))
}

test('who comes later takes the tracking over, and counts every page as written', async () => {
  await using host = await TestHost.open()
  const config = await host.config('u')
  const machine = await host.start(config)
  const ram = await ramOf(machine.pid, config.memoryMiB)
  {
    await using first = new Watcher(machine.pid, ram)
    assert.deepEqual(await first.ask('track'), {})
    await first.ask('take')
  }
  await using second = new Watcher(machine.pid, ram)
  assert.deepEqual(await second.ask('track'), {})
  assert.deepEqual(await second.ask('take'), { pages: ram.bytes / pageBytes })
  assert.deepEqual(await second.ask('take'), { pages: 0 })
  assert.deepEqual(await second.ask('stop'), {})
  assert.equal(await machine.state(), 'prelaunch')
})

test('a process that is not there, an address that is not mapped, and a child of our own are refused', async () => {
  const memories = nodeProcessMemories()
  await assert.rejects(memories.open(2 ** 22 - 1), { code: 'not-found' })
  await using memory = await memories.open(process.pid)
  assert.throws(() => memory.read(4096, new Uint8Array(8)))
  await using host = await TestHost.open()
  const config = await host.config('v')
  const machine = await host.start(config)
  await using own = await memories.open(machine.pid)
  const ram = await ramOf(machine.pid, config.memoryMiB)
  const data = await own.programData()
  const bytes = data.reduce((sum, area) => sum + area.bytes, 0)
  assert.ok(bytes > 2 ** 20 && bytes < ram.bytes, `${bytes} bytes of the program's own data`)
  for (const area of data) own.read(area.start, Buffer.alloc(area.bytes))
  await assert.rejects(own.trackWrites([ram], 'userfaultfd'), { code: 'internal', message: /is a child of this one/ })
})
