/** The checker of dev/chaos finds what it is there to find: planted faults, without a lab. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Sight } from '../support/chaos/amiss.ts'
import { amiss, mayStandMs, standing } from '../support/chaos/amiss.ts'
import { LedgerJudge, readAnswer } from '../support/chaos/ledger-judge.ts'
import { strikeLine, table, type Struck } from '../support/chaos/report.ts'
import { doubles, order, singles } from '../support/chaos/strikes.ts'
import { overlapOf } from '../support/run-spans.ts'

const [one, two] = ['11111111-1111-4111-8111-111111111111', '22222222-2222-4222-8222-222222222222']

/** Five numbers acknowledged by one boot and three by the next. */
function written(): { judge: LedgerJudge; disk: string[] } {
  const judge = new LedgerJudge('web')
  const disk: string[] = []
  for (let n = 0; n < 8; n++) {
    const boot = n < 5 ? one : two
    judge.answered(n, { n, boot, up: n < 5 ? 10 + n : n }, 100 * n)
    disk.push(`${n}:${boot}`)
  }
  return { judge, disk }
}

test('a guest that keeps its word is believed, also with one number more on its disk than was acknowledged', () => {
  const { judge, disk } = written()
  judge.verify([...disk, `8:${two}`], judge.next)
  assert.deepEqual([judge.problem, judge.next, judge.boots], [undefined, 8, [one, two]])
})

test('an acknowledged number that is not on the disk is lost', () => {
  for (const plant of ['', `2:${one}`, `3:${two}`, '\0'.repeat(511)]) {
    const { judge, disk } = written()
    judge.verify(disk.with(3, plant), judge.next)
    assert.match(judge.problem ?? '', /^web: of 8 numbers that were acknowledged 3 is lost/)
  }
})

test('a disk that ends too early has lost the rest', () => {
  const { judge, disk } = written()
  judge.verify(disk.slice(0, 6), judge.next)
  assert.match(judge.problem ?? '', /6 is lost: its record holds nothing/)
})

test('a boot that answers after the next one has answered is a second copy', () => {
  const { judge } = written()
  judge.answered(8, { n: 8, boot: one, up: 20 }, 900)
  assert.match(judge.problem ?? '', /two copies answer/)
})

test('a guest whose time goes back within one boot is found', () => {
  const { judge } = written()
  judge.answered(8, { n: 8, boot: two, up: 3 }, 900)
  assert.match(judge.problem ?? '', /at its second 3, after its second 7/)
})

test('an answer to another number than the one asked is found', () => {
  const { judge } = written()
  judge.answered(8, { n: 7, boot: two, up: 9 }, 900)
  assert.match(judge.problem ?? '', /7 was acknowledged in place of 8/)
})

test('the first broken promise is the one that is told', () => {
  const { judge } = written()
  judge.answered(8, { n: 8, boot: one, up: 20 }, 900)
  judge.verify([], judge.next)
  assert.match(judge.problem ?? '', /two copies answer/)
})

test('the longest silence is one between two answers, or the one that lasts', () => {
  const { judge } = written()
  assert.equal(judge.silence(750), 100)
  assert.equal(judge.silence(5700), 5000)
  judge.mark()
  judge.answered(8, { n: 8, boot: two, up: 9 }, 1000)
  assert.equal(judge.silence(1000), 300)
})

test('answers of the guest are read, and nothing else is', () => {
  assert.deepEqual(readAnswer(`put 12 ${one} 3.50`), { n: 12, boot: one, up: 3.5 })
  for (const line of ['', 'put', `put x ${one} 1`, `put 1 ${one}`, '12']) assert.equal(readAnswer(line), undefined)
})

test('spans of two hosts that share a moment are two copies; those that follow one another are not', () => {
  const apart = [
    { host: 'host1', from: 0, until: 10 },
    { host: 'host2', from: 10, until: 20 },
    { host: 'host1', from: 25 },
  ]
  assert.equal(overlapOf(apart), undefined)
  assert.ok(overlapOf([...apart, { host: 'host3', from: 30 }]))
  assert.ok(overlapOf([...apart, { host: 'host3', from: 12, until: 13 }]))
  // A short span between does not hide a long one.
  assert.ok(
    overlapOf([
      { host: 'host1', from: 0 },
      { host: 'host1', from: 1, until: 2 },
      { host: 'host2', from: 5 },
    ]),
  )
  // What is too young to be judged is not judged.
  assert.equal(overlapOf([...apart, { host: 'host3', from: 30 }], 30), undefined)
})

const host = { state: 'connected', maintenance: 'off', lease: { state: 'held' }, datastores: [], networks: [] }
const vm = {
  ...{ power: 'on', state: 'running', operation: null, problem: null },
  protection: { state: 'unprotected' },
}

/** Three hosts, three managers, a VM and one that is held in step. */
function whole(): Sight {
  const sight = {
    hosts: ['host1', 'host2', 'host3'].map((name) => ({ ...host, name })),
    managers: ['leads', 'stands-by', 'stands-by'].map((state, at) => ({ name: `manager${at + 1}`, state })),
    vms: [
      { ...vm, name: 'web', uuid: one, host: 'host1' },
      { ...vm, name: 'held', uuid: two, host: 'host2', protection: { state: 'protected', second: 'host1' } },
    ],
    tasks: [{ id: 'task-1', name: 'vm.start', state: 'done', step: null }],
    copies: new Map([
      [one, ['host1']],
      [two, ['host1', 'host2']],
    ]),
    answering: new Set(['web', 'held']),
    illMembers: [],
  }
  return sight as unknown as Sight
}

const found = (change: Partial<Record<keyof Sight, unknown>>): string =>
  amiss({ ...whole(), ...change } as Sight, (name) => name === 'held').join('; ')

test('of a whole cluster nothing is amiss', () => assert.equal(found({}), ''))

test('what is amiss is said', () => {
  const { hosts, managers, vms } = whole()
  const [first, ...others] = vms
  const cases: readonly [Partial<Record<keyof Sight, unknown>>, RegExp][] = [
    [{ hosts: [{ ...hosts[0], state: 'unreachable' }] }, /^host1 is unreachable$/],
    [{ hosts: [{ ...hosts[0], maintenance: 'entering' }] }, /host1 is in maintenance/],
    [{ hosts: [{ ...hosts[0], lease: { state: 'over' } }] }, /the lease of host1 is over/],
    [{ hosts: [{ ...hosts[0], datastores: [{ isUsable: false }] }] }, /a datastore of host1/],
    [{ managers: managers.slice(1) }, /^0 managers lead$/],
    [{ managers: [...managers, { name: 'm4', state: 'silent' }] }, /m4 is silent/],
    [{ illMembers: ['manager2'] }, /etcd on manager2/],
    [{ vms: [{ ...first, state: 'unknown' }, ...others] }, /^web is unknown$/],
    [{ copies: new Map([[one, ['host1', 'host3']], [two, ['host1', 'host2']]]) }, /copies of web are on host1,host3, not on host1/], // prettier-ignore
    [{ copies: new Map([[two, ['host1', 'host2']]]) }, /copies of web are on no host/],
    [{ vms: [first, { ...others[0], protection: { state: 'syncing' } }] }, /held is syncing/],
    [{ answering: new Set(['held']) }, /web does not answer its client/],
    [
      { tasks: [{ id: 'task-9', name: 'vm.migrate', state: 'stuck', step: 'transfer' }] },
      /task-9 \(vm.migrate\) is stuck/,
    ],
    [{ tasks: [{ id: 'task-9', name: 'vm.migrate', state: 'running', step: null }] }, /task-9 .* is running/],
  ]
  for (const [change, words] of cases) assert.match(found(change), words)
})

test('an alarm stands too long once its time to clear is over, and the longer the more often it came back', () => {
  const alarm = { type: 'host-down', state: 'raised', count: 1 } as never
  assert.deepEqual([standing([alarm], 30_000).waiting.length, standing([alarm], 60_000).wrong.length], [1, 1])
  assert.ok(mayStandMs({ count: 4 }) > mayStandMs({ count: 3 }))
  assert.ok(mayStandMs({ count: 30 }) <= 1_000_000)
  const told = { type: 'vm-restarted', state: 'raised', count: 1 } as never
  assert.equal(standing([told], 1e9).wrong.length, 0)
})

test('a seed gives the same strikes again, each once in a round', () => {
  const chosen = [...singles, ...doubles]
  const round = (seed: number): string[] =>
    order(seed, chosen)
      .take(chosen.length)
      .map(({ strike, isFenced, random }) => `${strike.name} ${isFenced} ${random.next()}`)
      .toArray()
  assert.deepEqual(round(5), round(5))
  assert.notDeepEqual(round(5), round(6))
  const names = order(5, chosen)
    .take(chosen.length)
    .map(({ strike }) => strike.name)
  assert.equal(new Set(names).size, chosen.length)
})

test('a run is told in lines and in a table', () => {
  const struck: Struck = {
    ...{ kind: 'host crash', what: 'host2', isFenced: true, heldMs: 9000, wholeMs: 4200 },
    ...{ silencesMs: { web: 8100, held: 600 }, restarted: ['web'], starvedMs: 20 },
  }
  assert.match(strikeLine(struck), /host crash \(host2; fenced\); held 9.0 s, whole 4.2 s after; .*web 8.1, held 0.6/)
  const rows = table([struck, { ...struck, wholeMs: 6200 }]).split('\n')
  assert.deepEqual(rows[1]?.trim().split(/ {2,}/), ['host crash', '2', '6.2', '6.2', '8.1', '8.1'])
})
