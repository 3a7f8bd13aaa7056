import assert from 'node:assert/strict'
import { duplexPair, type Duplex } from 'node:stream'
import { test } from 'node:test'
import { silentLogger } from '../../../base/log.ts'
import { VirtualClock } from '../../../sim/virtual-clock.ts'
import { ClockKeeper } from './clock-keeper.ts'
import { ClockLag } from './clock-lag.ts'

/** A guest whose clock is behind by so much, with a fair agent in it. */
class Guest {
  readonly #clock: VirtualClock
  behindMs: number
  sets = 0
  connections = 0

  constructor(clock: VirtualClock, behindMs: number) {
    this.#clock = clock
    this.behindMs = behindMs
  }

  connect(): Promise<Duplex> {
    this.connections++
    const [host, far] = duplexPair()
    far.on('error', () => undefined)
    far.on('data', (data: Buffer) => {
      for (const line of data.toString('latin1').split('\n')) {
        const [, mark] = /"id":(\d+)/.exec(line) ?? []
        const [, time] = /"time":(\d+)/.exec(line) ?? []
        if (mark !== undefined) far.write(Buffer.from(`\xff{"return": ${mark}}\n`, 'latin1'))
        if (time !== undefined) {
          this.sets++
          this.behindMs = this.#clock.now() - Number(time) / 1e6
          far.write('{"return": {}}\n')
        }
        if (line.includes('get-time'))
          far.write(`{"return": ${Math.round((this.#clock.now() - this.behindMs) * 1e6)}}\n`)
      }
    })
    return Promise.resolve(host)
  }
}

async function kept(behindMs: number, counted: number, connect?: () => Promise<Duplex>): Promise<[Guest, ClockLag]> {
  const clock = new VirtualClock({ turns: 20 })
  const guest = new Guest(clock, behindMs)
  const lag = new ClockLag(1000, { wallMs: 0, virtualMs: 0, lagMs: counted })
  lag.note({ wallMs: 0, virtualMs: 0 })
  const parts = { clock, log: silentLogger, lag, isPaused: () => false, connect: connect ?? (() => guest.connect()) }
  const ending = new AbortController()
  const running = new ClockKeeper(parts).run(ending.signal)
  await clock.advance(20_000)
  ending.abort()
  await clock.run(running, 1000)
  return [guest, lag]
}

test('a guest that was held is set right, once', async () => {
  const [guest, lag] = await kept(600, 600)
  assert.equal(guest.sets, 1)
  assert.ok(Math.abs(guest.behindMs) < 2, String(guest.behindMs))
  assert.ok(Math.abs(lag.lagMs ?? Infinity) < 2)
})

test('one that is right, or that somebody has set to another time, is left alone', async () => {
  for (const behindMs of [0, 10, 3_600_000, -3_600_000]) {
    const [guest, lag] = await kept(behindMs, 8)
    assert.equal(guest.sets, 0, `${behindMs} behind`)
    assert.equal(Math.round(lag.lagMs ?? 0), Math.abs(behindMs) > 100 ? 8 : behindMs)
  }
})

test('a channel with no agent behind it is tried ever more seldom, and nothing comes of it', async () => {
  let tried = 0
  const silent = (): Promise<Duplex> => {
    tried++
    return Promise.resolve(duplexPair()[0])
  }
  const [, lag] = await kept(600, 600, silent)
  assert.ok(tried >= 3 && tried <= 5, `${tried} times in 20 s`)
  assert.equal(lag.lagMs, 600)
  await kept(600, 600, () => Promise.reject(new Error('QEMU is gone')))
})
