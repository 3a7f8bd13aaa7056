import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HoldfastError } from '../base/errors.ts'
import type { Task } from '../contracts/inventory.ts'
import { fakeManager, fakeTerminal, fakeWorld, hastyClock, type FakeManager } from './testing/fake-surroundings.ts'
import { page, sampleTask, sampleVm } from './testing/samples.ts'

const running = sampleTask({ state: 'running', progress: 0.2, ended: null, step: 'transfer' })

/** A manager whose task goes through these answers, the last for ever. */
function managerOf(...answers: (Task | Error | (() => void))[]): FakeManager {
  let at = 0
  const manager = fakeManager({
    listVms: () => page(sampleVm()),
    getVm: () => sampleVm({ host: 'host2' }),
    migrateVm: () => running,
    cancelTask: () => running,
    getTask: () => {
      const answer = answers[Math.min(at, answers.length - 1)]
      at += 1
      if (answer instanceof Error) throw answer
      if (typeof answer === 'function') {
        answer()
        return running
      }
      return answer
    },
  })
  return manager
}

const migrate = ['vm', 'migrate', 'web', '--to', 'host2']

test('a task is followed to its end, and the sentence says where the VM runs', async () => {
  const world = fakeWorld(managerOf(running, { ...running, progress: 0.9 }, sampleTask()))
  assert.equal(await world.run(...migrate), 0)
  assert.equal(world.terminal.written.out, 'web runs on host2 (task-12, 3.1 s)\n')
  assert.match(world.terminal.written.err, /vm\.migrate web: 90 %, transfer/)
})

test('a failed task gives its own exit code, with what happened and what to do', async () => {
  const problem = { code: 'no-space', detail: 'the datastore fast is full', mend: 'Make room.' }
  const world = fakeWorld(managerOf(sampleTask({ state: 'failed', problem })))
  assert.equal(await world.run(...migrate), 1)
  assert.match(
    world.terminal.written.err,
    /error \(no-space\): task-12 failed: the datastore fast is full\nMake room\./,
  )
})

test('a stuck task says so', async () => {
  const world = fakeWorld(managerOf(sampleTask({ state: 'stuck', problem: null })))
  assert.equal(await world.run(...migrate), 1)
  assert.match(world.terminal.written.err, /stuck and needs a person/)
})

test('a manager that restarts in the middle is waited for', async () => {
  const away = new HoldfastError('unreachable', 'manager:7443 did not answer')
  const world = fakeWorld(managerOf(running, away, away, sampleTask()))
  assert.equal(await world.run(...migrate), 0)
  assert.match(world.terminal.written.err, /out of reach; the task goes on/)
})

test('a manager that stays away ends the wait with "unknown"', async () => {
  const away = new HoldfastError('unreachable', 'manager:7443 did not answer')
  const world = fakeWorld(managerOf(away))
  assert.equal(await world.run(...migrate), 5)
  assert.match(world.terminal.written.err, /how task-12 went is not known.*\n.*holdfast task wait task-12/)
})

test('--timeout ends the wait, not the task', async () => {
  const clock = hastyClock()
  const world = fakeWorld(
    managerOf(() => void clock.sleep(3000)),
    { clock },
  )
  assert.equal(await world.run(...migrate, '--timeout', '10'), 5)
  assert.match(world.terminal.written.err, /has not ended within 10 s; it goes on/)
  assert.ok(!world.manager.calls.some((call) => call.route === 'cancelTask'))
})

test('Ctrl-C without a terminal leaves the task and says how to go on', async () => {
  const terminal = fakeTerminal()
  const world = fakeWorld(
    managerOf(() => terminal.interrupt()),
    { terminal },
  )
  assert.equal(await world.run(...migrate), 130)
  assert.match(terminal.written.err, /task-12 goes on\..*task wait task-12.*task cancel task-12/)
})

test('Ctrl-C on a terminal asks; the answer decides', async () => {
  for (const [answer, route, code] of [
    ['w', 'getTask', 0],
    ['c', 'cancelTask', 130],
    ['l', 'getTask', 130],
  ] as const) {
    const terminal = fakeTerminal({ isTty: true, said: [answer] })
    const world = fakeWorld(
      managerOf(() => terminal.interrupt(), running, running, sampleTask()),
      { terminal },
    )
    assert.equal(await world.run(...migrate), code, answer)
    assert.equal(
      world.manager.calls.some((call) => call.route === 'cancelTask'),
      route === 'cancelTask',
    )
    assert.match(terminal.written.err, /\[l\]eave it, \[c\]ancel it, or \[w\]ait on\?/)
  }
})

test('--cancel-on-interrupt cancels without asking', async () => {
  const terminal = fakeTerminal({ isTty: true })
  const world = fakeWorld(
    managerOf(() => terminal.interrupt(), running),
    { terminal },
  )
  assert.equal(await world.run(...migrate, '--cancel-on-interrupt'), 130)
  assert.ok(world.manager.calls.some((call) => call.route === 'cancelTask'))
})
