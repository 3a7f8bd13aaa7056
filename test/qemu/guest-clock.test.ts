/**
 * The clock of a guest that is held in step, seen from outside against this machine's: with an agent in it it is right, also
 * over a takeover; without, what it loses is known.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { MachineConfig } from '../../src/hypervisor/hypervisor.ts'
import { defaultProtectionSettings } from '../../src/contracts/protection.ts'
import { clock, Console, eventually, guestNamed } from './hypervisor-guest.ts'
import { Pair } from './pump-pair.ts'

const wantedMs = 50
const usualPauseMs = 5
/** Of a guest from which nothing leaves; on a crowded machine each of its stops takes long. */
const seldom = { ...defaultProtectionSettings, silenceMs: 3000, shortestEpochMs: 500, longestEpochMs: 1000 }
/** An answer that took longer tells too little. */
const tightMs = 40

interface Sample {
  readonly lagMs: number
  /** It is so much more or less at the most. */
  readonly plusMinusMs: number
  /** What the pump said it had lost, at that moment. */
  readonly counted: number
}

/** How far the guest is behind. Its shell answers without a process of its own; the soonest of a few answers. */
async function lag(serial: Console, counted: () => number = () => 0): Promise<Sample> {
  let best: Sample | undefined
  for (let tried = 0; tried < 12 && (best === undefined || best.plusMinusMs > tightMs / 4); tried++) {
    const from = serial.text.length
    const asked = clock.now()
    serial.type('echo T=$EPOCHREALTIME.\n')
    const said = await eventually('the guest’s time', () => /T=(\d+\.\d+)\.\r?\n/.exec(serial.text.slice(from))?.[1])
    const plusMinusMs = (clock.now() - asked) / 2
    const sample = { lagMs: asked + plusMinusMs - Number(said) * 1000, plusMinusMs, counted: counted() }
    if (best === undefined || plusMinusMs < best.plusMinusMs) best = sample
  }
  assert.ok(best !== undefined)
  return best
}

function inWords({ lagMs, plusMinusMs }: Sample): string {
  return `${Math.round(lagMs)} ±${Math.round(plusMinusMs)} ms`
}

/** `pauseMs`: of an epoch. What a crowded machine makes of it beyond the usual cannot be made up for before it has passed. */
function assertRight(sample: Sample, when: string, pauseMs: number): void {
  const { lagMs, plusMinusMs } = sample
  const mostMs = wantedMs + 3 * Math.max(0, pauseMs - usualPauseMs)
  assert.ok(Math.abs(lagMs) - plusMinusMs <= mostMs, `${when} it is ${inWords(sample)} behind`)
}

async function withAgent(): Promise<Partial<MachineConfig>> {
  const folder = await guestNamed('busybox-agent')
  const cmdline = 'console=ttyS0 quiet no_timer_check'
  return { kernelBoot: { kernel: `${folder}/vmlinuz`, initrd: `${folder}/initrd.gz`, cmdline } }
}

test('with an agent in it a held guest has the right time, also when another host goes on with it', async (t) => {
  await using pair = await Pair.open({ more: await withAgent(), settings: seldom })
  const shown = (): string => JSON.stringify(pair.pump.status.clock)
  await eventually(
    () => `the agent has told the time: ${shown()}`,
    () => pair.pump.status.clock?.isMeasured || undefined,
  )
  const all: number[] = []
  let worst: Sample = { lagMs: 0, plusMinusMs: 0, counted: 0 }
  for (let until = clock.monotonic() + 30_000; clock.monotonic() < until;) {
    const sample = await lag(pair.serial)
    const pauseMs = pair.pump.status.pauseMs ?? 0
    assertRight(sample, `held (${shown()}, ${pauseMs} ms an epoch)`, pauseMs)
    all.push(Math.abs(sample.lagMs))
    if (Math.abs(sample.lagMs) > Math.abs(worst.lagMs)) worst = sample
    await clock.sleep(200)
  }
  const middle = all.toSorted((a, b) => a - b)[Math.floor(all.length / 2)] ?? Infinity
  const { pauseMs } = pair.pump.status
  t.diagnostic(
    `mostly ${Math.round(middle)} ms, at worst ${inWords(worst)} behind, ${pauseMs} ms an epoch, ${pair.pump.status.epoch} epochs, ${shown()}`,
  )
  assert.ok(middle <= wantedMs, `mostly ${middle} ms`)
  pair.kill()
  await pair.untilRunning()
  const there = await Console.open(pair.waiting)
  const after = await lag(there)
  t.diagnostic(`${inWords(after)} behind after the takeover`)
  assertRight(after, 'after the takeover', pauseMs ?? 0)
  there.close()
})

test('without one it is given back what its epochs take, and a takeover takes nothing', async (t) => {
  await using pair = await Pair.open()
  const lost = (): number => pair.pump.status.clock?.lagMs ?? 0
  // What is counted comes with the next epoch and the next word of the pump.
  const slackMs = (): number => wantedMs + 3 * (pair.pump.status.pauseMs ?? 0)
  const before = await lag(pair.serial, lost)
  const perMinute = async (what: string): Promise<void> => {
    const [since, was] = [clock.monotonic(), lost()]
    await clock.sleep(10_000)
    const ms = ((lost() - was) * 60_000) / (clock.monotonic() - since)
    t.diagnostic(`${what}: ${Math.round(ms)} ms a minute, ${pair.pump.status.pauseMs} ms an epoch`)
  }
  await perMinute('idle')
  await pair.serial.command('(dirty 16 >/dev/null 2>&1 &)')
  await perMinute('writing memory')
  await pair.serial.command('killall dirty')
  const now = await lag(pair.serial, lost)
  const [told, seen] = [now.counted - before.counted, now.lagMs - before.lagMs]
  t.diagnostic(`it lost ${Math.round(told)} ms; seen from outside ${Math.round(seen)}`)
  assert.equal(pair.pump.status.clock?.isMeasured, false)
  assert.ok(Math.abs(told - seen) <= slackMs() + now.plusMinusMs + before.plusMinusMs, inWords(now))
  // It stood still for far more than that.
  assert.ok(seen <= wantedMs + now.plusMinusMs + before.plusMinusMs, `it lost ${seen} ms`)
  pair.kill()
  const silent = clock.monotonic()
  await pair.untilRunning()
  const there = await Console.open(pair.waiting)
  const after = await lag(there)
  t.diagnostic(
    `${Math.round(after.lagMs - now.lagMs)} ms more after ${Math.round(clock.monotonic() - silent)} ms of takeover`,
  )
  assert.ok(after.lagMs - now.lagMs <= slackMs() + after.plusMinusMs + now.plusMinusMs, inWords(after))
  there.close()
})
