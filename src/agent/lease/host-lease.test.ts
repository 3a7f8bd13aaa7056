import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { HostId, VmId } from '../../base/ids.ts'
import { silentLogger } from '../../base/log.ts'
import { HoldfastError } from '../../base/errors.ts'
import { usualLeaseTerms, type HostPromise, type LeaseAnswer, type VouchAnswer } from '../../contracts/host-lease.ts'
import { MemoryFiles } from '../../sim/memory-files.ts'
import { VirtualClock } from '../../sim/virtual-clock.ts'
import { HostLease } from './host-lease.ts'
import { LeaseFile } from './lease-file.ts'
import type { Watchdog, WatchdogOrder } from './watchdog-port.ts'

const [host1, host2, host3] = ['host-1', 'host-2', 'host-3'] as HostId[] as [HostId, HostId, HostId]
const vm1 = 'vm-1' as VmId
const { termMs, askingMs } = usualLeaseTerms
const witness = (host: HostId) => ({ host, url: `https://${host}`, tlsName: `${host}.holdfast` })

class Stage {
  readonly clock = new VirtualClock()
  readonly files = new MemoryFiles()
  readonly promises: HostPromise[] = []
  readonly watchdog: Watchdog & { now: WatchdogOrder | undefined; isEmpty: boolean }
  answers = new Map<HostId, VouchAnswer | 'silent'>()
  refuses = false
  /** What the first question is answered with, whenever that is. */
  later: Promise<VouchAnswer> | undefined
  /** How often what this host is asked is lost on its way, without a word. */
  lost = new Map<HostId, number>()
  /** What a promise waits for at the managers. */
  holdsUp: Promise<void> = Promise.resolve()
  #stop = new AbortController()
  lease!: HostLease

  constructor() {
    this.watchdog = {
      ...{ hardwareMs: null, now: undefined, isEmpty: true },
      async order(order) {
        this.now = order
      },
      async ordered() {
        return this.now
      },
      async areGone() {
        return this.isEmpty
      },
    }
  }

  static async open(): Promise<Stage> {
    const stage = new Stage()
    await stage.files.makeDirectory('/data')
    await stage.restart()
    return stage
  }

  async restart(): Promise<void> {
    this.#stop.abort(new Error('restart'))
    this.#stop = new AbortController()
    const { clock, files, watchdog } = this
    this.lease = await this.clock.run(
      HostLease.open({
        ...{ host: host1, clock, log: silentLogger, watchdog, signal: this.#stop.signal },
        file: new LeaseFile(files, '/data'),
        manager: {
          promise: async (promise) => {
            if (this.refuses) throw new HoldfastError('stale-generation', 'closed')
            await this.holdsUp
            this.promises.push(promise)
          },
        },
        ask: async ({ host }) => {
          const { later } = this
          this.later = undefined
          if (later !== undefined) return later
          const lost = this.lost.get(host) ?? 0
          this.lost.set(host, lost - 1)
          if (lost > 0) await new Promise(() => undefined)
          const answer = this.answers.get(host) ?? 'silent'
          if (answer === 'silent') throw new HoldfastError('unreachable', 'no answer')
          return answer
        },
      }),
      1000,
    )
    void this.lease.watch()
  }

  async hear(change: Partial<LeaseAnswer> = {}): Promise<void> {
    const { round = 0, number = 0 } = this.promises.at(-1) ?? {}
    this.lease.answered(this.clock.monotonic(), {
      ...{
        round,
        number,
        isClosed: false,
        left: [],
        terms: usualLeaseTerms,
        armed: [vm1],
        witnesses: [witness(host2)],
      },
      ...change,
    })
    await this.clock.advance(50)
  }
}

test('the first answer begins a round, the next ones keep it, and the watchdog has the time that is left', async () => {
  const stage = await Stage.open()
  assert.equal(stage.lease.state, 'none')
  await stage.hear()
  assert.deepEqual(
    stage.promises.map(({ round, armed, witnesses }) => [round, armed, witnesses]),
    [[1, [vm1], [host2]]],
  )
  await stage.clock.advance(1000)
  const sentAt = stage.clock.monotonic()
  await stage.hear()
  assert.equal(stage.lease.state, 'held')
  assert.deepEqual(stage.watchdog.now, { deadlineMs: sentAt + termMs + askingMs, armed: [vm1] })
  assert.equal(stage.promises.length, 1, 'nothing has changed')
})

test('what is disarmed is so at the managers before it is so here', async () => {
  const stage = await Stage.open()
  await stage.hear()
  stage.refuses = true
  await stage.hear({ armed: [] })
  assert.deepEqual(stage.watchdog.now?.armed, [vm1], 'they may still count on it')
  stage.refuses = false
  await stage.hear({ armed: [] })
  assert.deepEqual(stage.watchdog.now?.armed, [])
})

test('nobody answers: the others are asked, and only the word of all of them keeps what is armed', async () => {
  const stage = await Stage.open()
  const witnesses = [witness(host2), witness(host3)]
  await stage.hear({ witnesses })
  stage.answers.set(host2, { isVouched: true, why: '' })
  await stage.clock.advance(termMs + 500)
  assert.equal(stage.lease.state, 'asking')
  assert.throws(() => stage.lease.mustHold(vm1), { code: 'unreachable' })
  stage.answers.set(host3, { isVouched: true, why: '' })
  await stage.clock.advance(500)
  assert.equal(stage.lease.state, 'released')
  assert.equal(stage.watchdog.now?.deadlineMs, null)
  await stage.restart()
  assert.equal(stage.lease.state, 'released', 'an agent that begins anew knows it')
  await stage.hear({ witnesses })
  const last = stage.promises.at(-1)
  assert.deepEqual([last?.round, last?.since, last?.armed], [2, 1, [vm1]], 'what runs may have been armed before')
  assert.equal(stage.lease.state, 'held')
})

test('an agent that begins anew asks for itself, and knows when it heard a manager last', async () => {
  const stage = await Stage.open()
  await stage.hear()
  await stage.clock.advance(3000)
  await stage.restart()
  assert.equal((await stage.lease.vouch({ host: host2, round: 1 })).isVouched, false)
  await stage.clock.advance(termMs - 3000 - 500)
  await stage.restart()
  assert.equal(stage.lease.state, 'held')
  assert.equal((await stage.lease.vouch({ host: host2, round: 1 })).isVouched, true, '3.5 s after the last word')
  stage.answers.set(host2, { isVouched: true, why: '' })
  await stage.clock.advance(1000)
  assert.equal(stage.lease.state, 'released')
})

test('longer terms count here when the managers have them in writing, shorter ones at once', async () => {
  const stage = await Stage.open()
  await stage.hear()
  const longer = { ...usualLeaseTerms, termMs: 2 * termMs }
  stage.refuses = true
  let sentAt = stage.clock.monotonic()
  await stage.hear({ terms: longer })
  assert.equal(stage.watchdog.now?.deadlineMs, sentAt + termMs + askingMs)
  stage.refuses = false
  await stage.hear({ terms: longer })
  assert.deepEqual(stage.promises.at(-1)?.terms, longer)
  sentAt = stage.clock.monotonic()
  await stage.hear({ terms: longer })
  assert.equal(stage.watchdog.now?.deadlineMs, sentAt + 2 * termMs + askingMs)
})

test('a promise that is lost ends nothing: it is made again', async () => {
  const stage = await Stage.open()
  stage.refuses = true
  await stage.hear()
  await stage.hear()
  assert.notEqual(stage.watchdog.now?.deadlineMs, 0)
  stage.refuses = false
  await stage.hear()
  assert.equal(stage.promises.at(-1)?.round, 1)
  stage.answers.set(host2, { isVouched: true, why: '' })
  await stage.clock.advance(termMs + 1000)
  assert.equal(stage.lease.state, 'released')
  stage.refuses = true
  for (let times = 0; times < 3; times++) {
    const sentAt = stage.clock.monotonic()
    await stage.hear()
    assert.deepEqual(stage.watchdog.now, { deadlineMs: sentAt + termMs + askingMs, armed: [vm1] })
  }
  stage.refuses = false
  await stage.hear()
  assert.deepEqual([stage.promises.at(-1)?.round, stage.promises.at(-1)?.since], [2, 1])
  // Had the round been closed meanwhile, what ran on may have been started elsewhere.
  await stage.hear({ round: 1, isClosed: true, left: [vm1] })
  assert.equal(stage.promises.at(-1)?.since, stage.promises.at(-1)?.round)
})

test('managers that take a promise and do not answer hold up no vouch, and no release', async () => {
  const stage = await Stage.open()
  await stage.hear()
  const { promise, resolve } = Promise.withResolvers<void>()
  stage.holdsUp = promise
  await stage.hear({ witnesses: [witness(host2), witness(host3)] })
  stage.answers.set(host2, { isVouched: true, why: '' }).set(host3, { isVouched: true, why: '' })
  await stage.clock.advance(termMs + 1000)
  assert.equal(stage.lease.state, 'released')
  assert.equal((await stage.lease.vouch({ host: host2, round: 1 })).isVouched, true)
  resolve()
})

test('after others were asked another round follows, in which nobody has vouched', async () => {
  const stage = await Stage.open()
  await stage.hear()
  stage.answers.set(host2, { isVouched: false, why: 'a manager answers here' })
  await stage.clock.advance(termMs + 500)
  assert.equal(stage.lease.state, 'asking')
  await stage.restart()
  await stage.hear()
  assert.deepEqual([stage.promises.at(-1)?.round, stage.promises.at(-1)?.since], [2, 1])
  assert.equal(stage.lease.state, 'held')
})

test('a question that is lost on its way is asked once more beside, and holds up no other', async () => {
  const stage = await Stage.open()
  await stage.hear({ witnesses: [witness(host2), witness(host3)] })
  const vouched = { isVouched: true, why: '' }
  stage.answers.set(host2, vouched).set(host3, vouched)
  stage.lost.set(host2, 1).set(host3, 1)
  await stage.clock.advance(termMs + 500)
  assert.equal(stage.lease.state, 'asking')
  await stage.clock.advance(1000)
  assert.equal(stage.lease.state, 'released')
})

test('a round that follows one in which others were asked is released by all of those too, until the managers know better', async () => {
  const stage = await Stage.open()
  await stage.hear({ witnesses: [witness(host2), witness(host3)] })
  stage.answers.set(host2, { isVouched: false, why: 'a manager answers here' })
  await stage.clock.advance(termMs + 300)
  assert.equal(stage.lease.state, 'asking')
  // The promise of the next round, which needs host2 alone, is lost; the store holds the one before, whose witnesses are two.
  stage.refuses = true
  await stage.hear({ witnesses: [witness(host2)] })
  stage.answers.set(host2, { isVouched: true, why: '' })
  await stage.restart()
  await stage.clock.advance(termMs + askingMs - 100)
  assert.notEqual(stage.lease.state, 'released', 'host3 was not heard')
  assert.notEqual(stage.watchdog.now?.deadlineMs, null)
})

test('a vouch of a round that is over does not count in the next', async () => {
  const stage = await Stage.open()
  await stage.hear()
  const { promise, resolve } = Promise.withResolvers<VouchAnswer>()
  stage.later = promise
  await stage.clock.advance(termMs + 300)
  assert.equal(stage.lease.state, 'asking')
  const write = stage.files.replace.bind(stage.files)
  stage.files.replace = async (...args) => {
    // It comes while the next round is being written down.
    if (String(args[1]).includes('"round":2')) {
      resolve({ isVouched: true, why: '' })
      for (let turn = 0; turn < 20; turn++) await Promise.resolve()
    }
    return write(...args)
  }
  await stage.hear()
  assert.equal(stage.promises.at(-1)?.round, 2)
  await stage.clock.advance(termMs + askingMs - 100)
  assert.notEqual(stage.lease.state, 'released')
})

test('one host that says no is enough', async () => {
  const stage = await Stage.open()
  await stage.hear()
  stage.answers.set(host2, { isVouched: false, why: 'a manager answers here' })
  await stage.clock.advance(termMs + askingMs + 500)
  assert.equal(stage.lease.state, 'stopping')
})

test('a closed round begins anew only when nothing of it is left', async () => {
  const stage = await Stage.open()
  await stage.hear()
  stage.watchdog.isEmpty = false
  await stage.hear({ isClosed: true, left: [vm1] })
  assert.deepEqual(stage.watchdog.now, { deadlineMs: 0, armed: [vm1] })
  assert.equal(stage.promises.length, 1)
  stage.watchdog.isEmpty = true
  await stage.clock.advance(500)
  // The answer is too old by then to begin with only when it took longer than the term.
  assert.deepEqual([stage.promises.at(-1)?.round, stage.promises.at(-1)?.since], [2, 2])
})

test('who vouches for a host starts nothing that it left, and who has started such a VM does not vouch', async () => {
  const stage = await Stage.open()
  await stage.clock.advance(termMs + 1)
  const left = { host: host2, round: 4 }
  assert.equal((await stage.lease.vouch(left)).isVouched, true)
  await stage.restart()
  await assert.rejects(stage.lease.takes(left), { code: 'refused' })
  await assert.rejects(stage.lease.takes({ host: host2, round: 3 }), { code: 'refused' })
  await stage.lease.takes({ host: host2, round: 5 })
  await stage.clock.advance(termMs + 1)
  assert.equal((await stage.lease.vouch({ host: host2, round: 5 })).isVouched, false)
  assert.equal((await stage.lease.vouch({ host: host2, round: 6 })).isVouched, true)
  assert.deepEqual(stage.lease.word().vouchedFor, [{ host: host2, round: 6 }])
})

test('a host that hears a manager vouches for nobody, nor one that has just begun', async () => {
  const stage = await Stage.open()
  assert.equal((await stage.lease.vouch({ host: host2, round: 1 })).isVouched, false)
  await stage.clock.advance(termMs)
  await stage.hear()
  assert.equal((await stage.lease.vouch({ host: host2, round: 1 })).isVouched, false)
})

test('after a boot nothing that is armed runs before a manager has answered', async () => {
  const stage = await Stage.open()
  await stage.hear()
  stage.watchdog.now = undefined
  await stage.restart()
  assert.deepEqual(stage.watchdog.now, { deadlineMs: 0, armed: [vm1] })
  assert.throws(() => stage.lease.mustHold(vm1), { code: 'unreachable' })
  await stage.hear()
  assert.doesNotThrow(() => stage.lease.mustHold(vm1))
})

test('an order that the agent left as it died does not outlive what it remembers', async () => {
  const stage = await Stage.open()
  stage.watchdog.now = { deadlineMs: 1, armed: [vm1] }
  await stage.restart()
  assert.deepEqual(stage.watchdog.now?.armed, [])
})
