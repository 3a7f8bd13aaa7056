import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync, existsSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { TaskId } from '../../base/ids.ts'
import { silentLogger } from '../../base/log.ts'
import { nodeClock, nodeFiles, nodeProcesses } from '../../base/node/index.ts'
import type { UpgradeReport } from '../../contracts/host-upgrade.ts'
import { UpgradeProgram } from './upgrade-program.ts'

const isRoot = process.getuid?.() === 0
const [clock, files, processes] = [nodeClock(), nodeFiles(), nodeProcesses()]
let folder: string
let count = 0

before(() => (folder = mkdtempSync('/var/tmp/hfu')))
after(() => rmSync(folder, { recursive: true, force: true }))

interface Made {
  readonly program: string
  readonly dataDirectory: string
  /** As another agent over the same data. */
  readonly open: () => UpgradeProgram
}

function made(text: string, mode = 0o755): Made {
  const own = join(folder, `${++count}`)
  const dataDirectory = join(own, 'data')
  mkdirSync(dataDirectory, { recursive: true, mode: 0o755 })
  const program = join(own, 'upgrade')
  writeFileSync(program, `#!/bin/sh\n${text}\n`)
  chmodSync(program, mode)
  const open = (): UpgradeProgram =>
    new UpgradeProgram({ ...{ clock, files, processes, log: silentLogger, program, dataDirectory } })
  return { program, dataDirectory, open }
}

const task = (n: number): TaskId => `task-${n}` as TaskId

async function ended(upgrade: UpgradeProgram): Promise<UpgradeReport> {
  for (const until = clock.monotonic() + 20_000; clock.monotonic() < until; await clock.sleep(20)) {
    const report = await upgrade.report()
    if (report?.state === 'ended') return report
  }
  throw new Error('it has not ended')
}

test(
  'the program runs once for a task, in a session of its own, and the next agent knows how it ended',
  { skip: !isRoot },
  async () => {
    const { open, dataDirectory } = made(
      'echo once >>"$(dirname "$0")/ran"; ps -o sid= -p $$ >"$(dirname "$0")/sid"; sleep 0.5',
    )
    const first = open()
    assert.equal(await first.report(), undefined)
    assert.equal((await first.start(task(1))).state, 'running')
    const second = open()
    assert.equal((await second.report())?.state, 'running')
    await assert.rejects(second.start(task(2)), { code: 'wrong-state' })
    const report = await ended(second)
    assert.deepEqual([report.task, report.code, report.lastLines], ['task-1', 0, ''])
    assert.ok(Date.parse(report.endedAt ?? '') >= Date.parse(report.startedAt) - 1000)
    assert.equal((await open().start(task(1))).state, 'ended')
    const own = join(dataDirectory, '..')
    assert.equal(await files.readText(join(own, 'ran')), 'once\n')
    const { stdout } = await processes.run('ps', ['-o', 'sid=', '-p', `${process.pid}`])
    assert.notEqual((await files.readText(join(own, 'sid'))).trim(), stdout.trim())
  },
)

test('a program counts as running from the moment when it is asked for', { skip: !isRoot }, async () => {
  const upgrade = made('sleep 0.3').open()
  let isStarted = false
  const started = upgrade.start(task(1)).finally(() => (isStarted = true))
  const seen = new Set<string>()
  while (!isStarted) seen.add((await upgrade.report())?.state ?? 'none')
  await started
  assert.ok(!seen.has('ended'), [...seen].join())
  assert.equal((await ended(upgrade)).code, 0)
})

test('how a program failed is said with the end of its log', { skip: !isRoot }, async () => {
  const { open, dataDirectory } = made('for n in $(seq 100); do echo "line $n"; done; echo "E: no room" >&2; exit 7')
  const upgrade = open()
  await upgrade.start(task(1))
  const report = await ended(upgrade)
  assert.equal(report.code, 7)
  assert.match(report.lastLines, /^line 82\n[^]*line 100\nE: no room$/)
  await upgrade.start(task(2))
  await ended(upgrade)
  assert.ok(existsSync(join(dataDirectory, 'upgrade.log.1')))
})

test('a program that is killed has ended, and nobody knows how', { skip: !isRoot }, async () => {
  const { open } = made('kill -9 $PPID; sleep 0.1')
  const upgrade = open()
  await upgrade.start(task(1))
  assert.equal((await ended(upgrade)).code, null)
})

test('a program that is missing, no program, or open to others is refused in words', { skip: !isRoot }, async () => {
  const none = made('true')
  rmSync(none.program)
  await assert.rejects(none.open().start(task(1)), { code: 'refused', message: /no program that renews it/ })
  await assert.rejects(made('true', 0o644).open().start(task(1)), {
    code: 'refused',
    message: /no program that can be run/,
  })
  await assert.rejects(made('true', 0o775).open().start(task(1)), { code: 'refused', message: /written to by others/ })
  const owned = made('true')
  await files.changeOwner(owned.program, 1000, 0)
  await assert.rejects(owned.open().start(task(1)), { code: 'refused', message: /belongs to the user 1000/ })
  const open = made('true')
  await files.changeMode(join(open.dataDirectory, '..'), 0o777)
  await assert.rejects(open.open().start(task(1)), { code: 'refused', message: /written to by others/ })
  assert.equal(await owned.open().report(), undefined)
})
