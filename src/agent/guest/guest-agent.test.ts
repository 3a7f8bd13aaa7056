import assert from 'node:assert/strict'
import { duplexPair, type Duplex } from 'node:stream'
import { test } from 'node:test'
import { HoldfastError } from '../../base/errors.ts'
import { VirtualClock } from '../../sim/virtual-clock.ts'
import { GuestAgent } from './guest-agent.ts'

const sync = Buffer.from('\xff{"return": 7}\n', 'latin1')
const world = (): VirtualClock => new VirtualClock({ turns: 20 })

/** A guest that answers the mark as it should, and each question after it with the next of these. */
function guest(answers: readonly (string | Buffer)[], first: Buffer = sync): { host: Duplex; heard: string[] } {
  const [host, far] = duplexPair()
  const heard: string[] = []
  far.on('error', () => undefined)
  far.on('data', (data: Buffer) => {
    for (const line of data
      .toString('latin1')
      .split('\n')
      .filter((one) => one.includes('execute'))) {
      heard.push(line)
      const answer = heard.length === 1 ? first : answers[heard.length - 2]
      if (answer !== undefined) far.write(answer)
    }
  })
  return { host, heard }
}

const code = async (what: Promise<unknown>): Promise<string> =>
  await what.then(
    () => 'it was taken',
    (thrown: unknown) => (thrown instanceof HoldfastError ? thrown.code : String(thrown)),
  )

/** Time goes on while it works. */
async function drive(clock: VirtualClock, work: () => Promise<void>): Promise<void> {
  await clock.run(work(), 60_000)
}

test('an agent tells its time and is told one', async () => {
  const clock = world()
  const stale = Buffer.concat([Buffer.from('{"error": {"class": "GenericError"}}\n\xff{"retu', 'latin1'), sync])
  const { host, heard } = guest(
    ['{"return": 1795637841024853000}\n', '{"return": {}}\n', '{"error": {"desc": "no hwclock"}}\n'],
    stale,
  )
  await drive(clock, async () => {
    using agent = await GuestAgent.open(host, clock, 7)
    assert.equal(await agent.time(), 1_795_637_841_024.853)
    await agent.setTime(1_795_637_841_024.5)
    await agent.setTime(1_795_637_841_025)
    assert.ok(agent.isOpen)
  })
  assert.match(heard[2] ?? '', /"guest-set-time","arguments":\{"time":1795637841024500000\}/)
})

test('what is no answer ends the conversation', async () => {
  const strange: Record<string, string> = {
    'no number': '{"return": "soon"}\n',
    'a time before all': '{"return": -5}\n',
    'a time beyond all': '{"return": 1e300}\n',
    'an error': '{"error": {"class": "CommandNotFound"}}\n',
    'no JSON': 'hello\n',
    null: 'null\n',
    'two answers': '{"return": 1}\n{"return": 2}\n',
    'a flood': 'x'.repeat(5000),
  }
  for (const [what, answer] of Object.entries(strange)) {
    const clock = world()
    const { host } = guest([answer])
    await drive(clock, async () => {
      using agent = await GuestAgent.open(host, clock, 7)
      assert.equal(await code(agent.time()), 'invalid-request', what)
      assert.equal(agent.isOpen, false, what)
      assert.equal(await code(agent.time()), 'invalid-request', what)
    })
    assert.ok(host.destroyed, what)
  }
})

test('one that does not answer is left, and one that ends is noticed', async () => {
  const clock = world()
  await drive(clock, async () => {
    const silent = guest([], Buffer.alloc(0))
    assert.equal(await code(GuestAgent.open(silent.host, clock, 7)), 'timeout')
    assert.ok(silent.host.destroyed)
    const slow = guest([])
    using agent = await GuestAgent.open(slow.host, clock, 7)
    const from = clock.monotonic()
    assert.equal(await code(agent.time()), 'timeout')
    assert.ok(clock.monotonic() - from < 1500)
    const dead = guest([])
    using other = await GuestAgent.open(dead.host, clock, 7)
    const asked = code(other.time())
    dead.host.destroy()
    assert.equal(await asked, 'unreachable')
  })
})

test('one that speaks unasked, gives another mark, or floods before it, is not listened to', async () => {
  const clock = world()
  await drive(clock, async () => {
    const wrong = guest([], Buffer.from('\xff{"return": 8}\n', 'latin1'))
    assert.equal(await code(GuestAgent.open(wrong.host, clock, 7)), 'invalid-request')
    const flood = guest([], Buffer.alloc(70_000, 'x'))
    assert.equal(await code(GuestAgent.open(flood.host, clock, 7)), 'invalid-request')
    const [host, far] = duplexPair()
    far.on('error', () => undefined)
    far.once('data', () => far.write(sync))
    using agent = await GuestAgent.open(host, clock, 7)
    far.write('{"return": 1}\n')
    await clock.sleep(10)
    assert.equal(agent.isOpen, false)
  })
})
