import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import type { HostId, ManagerId } from '../../../base/ids.ts'
import { noFigures, type ProtectionObservation, type RunProtection } from '../../../contracts/protection.ts'
import { defaultAlarmSettings } from '../../../contracts/alarms.ts'
import { aRun } from '../cluster-fixture.ts'
import {
  anAlarmHost,
  anAlarmVm,
  aRestart,
  aSilentHost,
  aWorld,
  datastoreWord,
  findingsIn,
  now,
  observed,
  subjectsIn,
} from './alarm-fixture.ts'
import { certificateEnding } from './certificate-conditions.ts'
import { managerSilent, roomNotKept, storeMemberLost } from './cluster-conditions.ts'
import { isUnknown, type Condition } from './condition.ts'
import { conditions } from './conditions.ts'
import { datastoreFull, datastoreUnusable } from './datastore-conditions.ts'
import { fenceFailing, hostClockSkew, hostDown, hostIsolated, hostVersion } from './host-conditions.ts'
import { clockBehind, undecided, unprotected } from './protection-conditions.ts'
import { taskStuck } from './task-conditions.ts'
import { guestGivenUp, outOfSpace, restartPaused, vmDown, vmRestarted } from './vm-conditions.ts'

const [closed, open] = [() => false, () => true]
const dayMs = 86_400_000

test('a world in which nothing is wrong has no alarms', () => {
  const world = aWorld({
    vms: [anAlarmVm(1)],
    hosts: [anAlarmHost(1, { vms: new Map([[anAlarmVm(1).id, observed({})]]) })],
  })
  for (const condition of conditions) {
    assert.deepEqual(findingsIn(condition.look(world, closed)), [], condition.type)
    assert.deepEqual(findingsIn(condition.look(world, open)), [], condition.type)
  }
})

test('each condition has a type of its own, and docs/alarms.md has it', () => {
  const page = readFileSync(new URL('../../../../docs/alarms.md', import.meta.url), 'utf8')
  assert.equal(new Set(conditions.map(({ type }) => type)).size, conditions.length)
  for (const { type } of conditions) assert.ok(page.includes(`\`${type}\``), type)
})

test('a host that is silent is down, with the VMs that are recorded on it; one that was emptied may be off', () => {
  const vms = [anAlarmVm(1), anAlarmVm(2)]
  const hosts = [aSilentHost(1), aSilentHost(2, { maintenance: 'on' }), aSilentHost(3, { state: 'never-seen' })]
  const found = findingsIn(hostDown.look(aWorld({ hosts, vms }), closed))
  assert.equal(found.length, 1)
  assert.equal(found[0]?.message, 'h1 has been out of reach for 12 s; 2 VMs are recorded on it')
  assert.match(found[0]?.mend ?? '', /confirm-off h1/)
  const off = findingsIn(hostDown.look(aWorld({ hosts: [aSilentHost(1, { state: 'confirmed-off' })] }), closed))
  assert.match(off[0]?.message ?? '', /h1 is off, as was confirmed/)
})

test('of a host that a new manager has not had time to hear nothing is known', () => {
  const world = aWorld({ hosts: [aSilentHost(1, { silentMs: 3000 })] })
  assert.deepEqual(subjectsIn(hostDown.look(world, closed)), ['?host-1'])
})

test('a clock that is off is raised above the limit and cleared below half of it', () => {
  const of = (clockSkewMs: number | null, isOpen: () => boolean) =>
    subjectsIn(hostClockSkew.look(aWorld({ hosts: [anAlarmHost(1, { clockSkewMs })] }), isOpen))
  assert.deepEqual([of(900, closed), of(-1100, closed)], [[], ['host-1']])
  assert.deepEqual([of(900, open), of(400, open), of(null, open)], [['host-1'], [], ['?host-1']])
})

test('an agent of another version is said, and of a host that is away nothing is known', () => {
  const hosts = [anAlarmHost(1, { agentVersion: '0.9.0' }), aSilentHost(2, { agentVersion: '0.9.0' }), anAlarmHost(3)]
  const sights = hostVersion.look(aWorld({ hosts }), closed)
  assert.deepEqual(subjectsIn(sights), ['host-1', '?host-2'])
  assert.match(findingsIn(sights)[0]?.message ?? '', /0\.9\.0, the manager is 1\.0\.0/)
})

test('a datastore is near full from the threshold on, and no more under the other', () => {
  const of = (freeBytes: number, isOpen: () => boolean) => {
    const hosts = [anAlarmHost(1, { datastores: [datastoreWord('ds-1', { freeBytes })] })]
    return subjectsIn(datastoreFull.look(aWorld({ hosts }), isOpen)).filter((each) => each === 'ds-1').length
  }
  assert.deepEqual([of(101, closed), of(100, closed), of(0, closed)], [0, 1, 1])
  assert.deepEqual([of(130, open), of(150, open), of(151, open)], [1, 1, 0])
})

test('a shared datastore is judged by any host that can use it, and by none when none speaks', () => {
  const hosts = [aSilentHost(1), anAlarmHost(2, { datastores: [datastoreWord('ds-1', { freeBytes: 10 })] })]
  const sights = datastoreFull.look(aWorld({ hosts }), closed)
  assert.ok(subjectsIn(sights).includes('ds-1'))
  assert.equal(findingsIn(sights)[0]?.message, 'the datastore shared is 99 % full: 10 B of 1000 B are left')
  assert.ok(subjectsIn(datastoreFull.look(aWorld({ hosts: [aSilentHost(1)] }), closed)).includes('?ds-1'))
})

test('a datastore that cannot be used is said of each host on which it cannot', () => {
  const broken = { isUsable: false, problem: 'not mounted' }
  const hosts = [
    anAlarmHost(1, { datastores: [datastoreWord('ds-1', broken), datastoreWord('ds-2', {})] }),
    aSilentHost(2),
  ]
  const sights = datastoreUnusable.look(aWorld({ hosts }), closed)
  assert.deepEqual(subjectsIn(sights), ['ds-1@host-1', '?ds-1@host-2', '?ds-3@host-2'])
  assert.equal(findingsIn(sights)[0]?.message, 'the datastore shared cannot be used on h1: not mounted')
})

test('a task that is stuck names its runbook, which exists', () => {
  const problem = { detail: 'no answer', details: { runbook: 'migration-stuck' } }
  const stuck = aRestart(1, 0, { saga: 'vm.migrate/1', state: 'stuck', ended: null, problem })
  const [found] = findingsIn(taskStuck.look(aWorld({ tasks: [stuck, aRestart(2, 0)] }), closed))
  assert.equal(found?.message, 'vm.migrate of v1 (task-1) is stuck: no answer')
  assert.match(found?.mend ?? '', /docs\/runbooks\/migration-stuck\.md/)
  for (const page of ['stuck-task', 'protection-stuck', 'migration-stuck']) {
    assert.ok(existsSync(new URL(`../../../../docs/runbooks/${page}.md`, import.meta.url)), page)
  }
})

test('a VM that was started again is told of for a day, and the next time is news', () => {
  const look = (tasks: Parameters<typeof aWorld>[0]) =>
    findingsIn(vmRestarted.look(aWorld({ vms: [anAlarmVm(1)], ...tasks }), closed))
  assert.deepEqual(look({ tasks: [aRestart(1, dayMs + 1), aRestart(2, 1, { startedBy: 'token admin' })] }), [])
  const [once] = look({ tasks: [aRestart(1, 1000)] })
  assert.match(once?.message ?? '', /^v1 stopped without being asked and was started again, once within 24 h.*h1$/)
  const [twice] = look({ tasks: [aRestart(1, 1000), aRestart(2, 10)] })
  assert.deepEqual([once?.severity, once?.occurrence, twice?.occurrence], ['info', 'task-1', 'task-2'])
})

test('a VM that stopped five times within an hour is given up; one that stopped less often is down', () => {
  const stopped = anAlarmVm(1, { run: aRun({ phase: 'stopped', cause: 'crashed' }) })
  const restarts = [1, 2, 3, 4, 5].map((each) => aRestart(each, each * 1000))
  const of = (condition: Condition, tasks: typeof restarts, vm = stopped) =>
    findingsIn(condition.look(aWorld({ vms: [vm], tasks }), closed)).length
  assert.deepEqual([of(restartPaused, restarts), of(vmDown, restarts)], [1, 0])
  assert.deepEqual([of(restartPaused, restarts.slice(1)), of(vmDown, restarts.slice(1))], [0, 1])
  const never = { ...stopped, restart: 'never' as const }
  assert.deepEqual([of(restartPaused, restarts, never), of(vmDown, restarts, never)], [0, 1])
  const asked = anAlarmVm(1, { run: aRun({ phase: 'stopped', cause: 'asked' }) })
  assert.deepEqual([of(restartPaused, restarts, asked), of(vmDown, restarts, asked)], [0, 0])
})

test('a VM that is out of space is paused; while its host is silent that is not known', () => {
  const vms = [anAlarmVm(1)]
  const seen = new Map([[anAlarmVm(1).id, observed({ process: 'paused', outOfSpace: true })]])
  assert.deepEqual(subjectsIn(outOfSpace.look(aWorld({ vms, hosts: [anAlarmHost(1, { vms: seen })] }), closed)), [
    'vm-1',
  ])
  assert.deepEqual(subjectsIn(outOfSpace.look(aWorld({ vms, hosts: [aSilentHost(1)] }), closed)), ['?vm-1'])
})

const pair: RunProtection = { n: 1, second: 'host-2' as HostId, arbiter: 'managers', phase: 'protected' }
function held(phase: RunProtection['phase'] | null, isClockBehind = false) {
  const run = aRun({
    phase: 'running',
    host: 'host-1' as HostId,
    cause: null,
    protection: phase === null ? null : { ...pair, phase },
  })
  return anAlarmVm(1, { run, protection: { isWanted: true, reason: 'no host has room', isClockBehind } })
}

test('a VM whose protection is wanted and is not there is said so until it stands again', () => {
  const of = (vm: ReturnType<typeof held>, isOpen: () => boolean) => unprotected.look(aWorld({ vms: [vm] }), isOpen)
  assert.equal(
    findingsIn(of(held(null), closed))[0]?.message,
    'v1 is not protected although that is wanted: no host has room',
  )
  assert.deepEqual(subjectsIn(of(held('syncing'), closed)), [])
  assert.deepEqual(subjectsIn(of(held('syncing'), open)), ['?vm-1'])
  assert.deepEqual(subjectsIn(of(held('protected'), open)), [])
  assert.deepEqual(subjectsIn(of({ ...held(null), power: 'off' }, open)), [])
})

test('a pair that waits for a word, or of which nobody speaks, is undecided', () => {
  const says = (phase: ProtectionObservation['phase'], side: 'primary' | 'second'): ReadonlyMap<never, never> =>
    new Map([
      ['vm-1', observed({ protection: { ...noFigures, side, n: 1, phase, problem: 'the arbiter is silent' } })],
    ]) as never
  const of = (hosts: ReturnType<typeof anAlarmHost>[]) =>
    findingsIn(undecided.look(aWorld({ vms: [held('protected')], hosts }), closed))
  assert.deepEqual(of([anAlarmHost(1, { vms: says('protecting', 'primary') }), aSilentHost(2)]), [])
  const [waits] = of([aSilentHost(1), anAlarmHost(2, { vms: says('claiming', 'second') })])
  assert.equal(waits?.message, 'nobody can say yet which copy of v1 goes on: the arbiter is silent')
  assert.match(of([aSilentHost(1), aSilentHost(2)])[0]?.message ?? '', /neither of its two hosts/)
})

test("a guest's clock that is too far behind is said as long as its record says so", () => {
  assert.equal(findingsIn(clockBehind.look(aWorld({ vms: [held('protected', true)] }), closed)).length, 1)
  assert.equal(findingsIn(clockBehind.look(aWorld({ vms: [held('protected')] }), open)).length, 0)
})

test('a certificate near its end is a warning, within a week critical', () => {
  const subject = { kind: 'host', id: 'host-1', name: 'h1' }
  const of = (endsAt: number | null) =>
    certificateEnding.look(aWorld({ certificates: [{ subject, what: 'the certificate of h1', endsAt }] }), closed)
  assert.deepEqual(of(now + 31 * dayMs), [])
  assert.equal(
    findingsIn(of(now + 29.5 * dayMs))[0]?.message,
    'the certificate of h1 ends in 29 days and was not made anew',
  )
  assert.equal(findingsIn(of(now + 29.5 * dayMs))[0]?.severity, 'warning')
  assert.equal(findingsIn(of(now + 6 * dayMs))[0]?.severity, 'critical')
  assert.match(findingsIn(of(now - dayMs))[0]?.message ?? '', /has ended/)
  assert.ok(of(null).every(isUnknown))
})

test('a manager that says nothing is one fewer', () => {
  const managers = [
    { id: 'manager-1' as ManagerId, name: 'm1', isSilent: false },
    { id: 'manager-2' as ManagerId, name: 'm2', isSilent: true },
  ]
  const found = findingsIn(managerSilent.look(aWorld({ managers }), closed))
  assert.deepEqual(
    found.map(({ subject }) => subject.name),
    ['m2'],
  )
})

test('a member of etcd that does not answer, or complains, is told with how many are left', () => {
  const storeMembers = ['a', 'b', 'c'].map((url) => ({ url, problem: url === 'b' ? 'etcdserver: no leader' : null }))
  const [found, ...more] = findingsIn(storeMemberLost.look(aWorld({ storeMembers }), closed))
  assert.deepEqual([found?.subject.id, more.length], ['b', 0])
  assert.match(found?.message ?? '', /no leader.*1 of 3/)
})

test('room that is not there is a warning, unless a host is about to be heard', () => {
  const room = {
    subject: { kind: 'cluster', id: 'cluster-1', name: 'c' },
    problem: 'room for 1 host failure is missing',
  }
  const seen = (hosts = [anAlarmHost(1)]) => subjectsIn(roomNotKept.look(aWorld({ room, hosts }), closed))
  assert.deepEqual(seen(), ['cluster-1'])
  assert.deepEqual(seen([aSilentHost(1)]), ['cluster-1'], 'that one is lost')
  assert.deepEqual(seen([aSilentHost(1, { silentMs: 3000 })]), ['?cluster-1'])
  assert.deepEqual(roomNotKept.look(aWorld({ room: { ...room, problem: null } }), closed), [])
})

test('the settings decide', () => {
  const settings = { ...defaultAlarmSettings, datastoreFullPercent: 50, datastoreClearPercent: 40 }
  assert.ok(findingsIn(datastoreFull.look(aWorld({ settings }), closed)).length > 0)
})

test('a host that lives and is not heard is isolated, and a device that failed its test is news before it is needed', () => {
  const seen = aSilentHost(2, { seenBy: 'h1: its agent answers' })
  const [isolated] = findingsIn(hostIsolated.look(aWorld({ hosts: [anAlarmHost(1), seen] }), () => false))
  assert.equal(isolated?.subject.id, 'host-2')
  assert.match(isolated.message, /h1: its agent answers/)
  assert.deepEqual(
    hostIsolated.look(aWorld({ hosts: [aSilentHost(2)] }), () => false),
    [],
  )
  const failing = aWorld({ hosts: [anAlarmHost(1), anAlarmHost(2, { fenceProblem: 'wrong password' })] })
  assert.deepEqual(subjectsIn(fenceFailing.look(failing, () => false)), ['host-2'])
})

test('a device that lied is critical, whatever its last test says', () => {
  for (const fenceProblem of [null, 'wrong password']) {
    const lying = aWorld({ hosts: [anAlarmHost(1), anAlarmHost(2, { fenceProblem, fenceLiedAt: '2030-01-01' })] })
    const findings = findingsIn(fenceFailing.look(lying, () => false))
    assert.deepEqual(
      findings.map(({ subject, severity }) => [subject.id, severity]),
      [['host-2', 'critical']],
    )
  }
})

test('a guest that was given up is told until somebody resets it', () => {
  const world = aWorld({ vms: [anAlarmVm(1), anAlarmVm(2, { isGivenUp: true })] })
  assert.deepEqual(subjectsIn(guestGivenUp.look(world, () => false)), ['vm-2'])
})
