import assert from 'node:assert/strict'
import { once } from 'node:events'
import { duplexPair, type Duplex } from 'node:stream'
import { test } from 'node:test'
import { nodeClock } from '../../../base/node/index.ts'
import { silentLogger } from '../../../base/log.ts'
import { frameKinds, type Frame } from './frames.ts'
import { Links, type WholeFrame } from './links.ts'
import type { Word } from './words.ts'

const beat: Word = { is: 'beat', n: 1 }

interface Heard {
  readonly links: Links
  readonly said: (Word | Frame)[]
  readonly stream: Duplex
}

function side(stream: Duplex, mostBytes = 2 ** 26): Heard {
  const said: (Word | Frame)[] = []
  const links = new Links({ clock: nodeClock(), log: silentLogger }, mostBytes, {
    onWord: (word) => said.push(word),
    onFrame: ({ kind, pieces }) => said.push({ kind, bytes: Buffer.concat(pieces) }),
    onEnd: () => undefined,
  })
  links.add('data', stream)
  return { links, said, stream }
}

/** Resolves when so much was heard. */
async function heard({ said }: Heard, count: number): Promise<void> {
  while (said.length < count) await nodeClock().sleep(1)
}

function pair(mostBytes?: number): readonly [Heard, Heard] {
  const [one, other] = duplexPair()
  return [side(one), side(other, mostBytes)]
}

test('what is long comes whole, and what is said meanwhile comes before its end', async () => {
  const [here, there] = pair()
  const long = Buffer.alloc(5 * 2 ** 20 + 17, 'abc')
  const sent = here.links.send('epoch', [Buffer.from('head'), long.subarray(0, 1000), long.subarray(1000)])
  await Promise.resolve()
  here.links.say(beat)
  await sent
  await here.links.send('pages', [Buffer.from('pages')])
  await heard(there, 3)
  const [first, epoch, pages] = there.said as [Word, Frame, Frame]
  assert.deepEqual(first, beat)
  assert.equal(epoch.kind, frameKinds.epoch)
  assert.ok(epoch.bytes.equals(Buffer.concat([Buffer.from('head'), long])))
  assert.equal(pages.bytes.toString(), 'pages')
})

test('what is long is handed on in the pieces in which it came', async () => {
  const [one, other] = duplexPair()
  const frames = Promise.withResolvers<readonly Buffer[]>()
  const listener = { onWord: () => undefined, onEnd: () => undefined }
  const deps = { clock: nodeClock(), log: silentLogger }
  const onFrame = ({ pieces }: WholeFrame): void => frames.resolve(pieces)
  new Links(deps, 2 ** 26, { ...listener, onFrame }).add('data', other)
  await side(one).links.send('epoch', [Buffer.alloc(5 * 2 ** 20 + 17)])
  const pieces = await frames.promise
  assert.deepEqual(
    pieces.map(({ length }) => length),
    [...Array.from({ length: 5 }, () => 2 ** 20), 17],
  )
})

test('others have their turn while something long is sent over a connection that takes all of it at once', async () => {
  const [here, there] = pair()
  let turns = 0
  let isSent = false
  const others = (async () => {
    for (; !isSent; turns++) await nodeClock().sleep(0)
  })()
  await here.links.send('epoch', [Buffer.alloc(8 * 2 ** 20)])
  isSent = true
  await others
  assert.ok(turns >= 8, `${turns} turns`)
  await heard(there, 1)
})

test('one long thing is sent after the other, also when nobody waits', async () => {
  const [here, there] = pair()
  const parts = ['x', 'y', 'z'].map((letter) => Buffer.alloc(3 * 2 ** 20, letter))
  await Promise.all(parts.map((part) => here.links.send('epoch', [part])))
  await heard(there, 3)
  assert.deepEqual(
    (there.said as Frame[]).map(({ bytes }) => bytes),
    parts,
  )
})

test('what is longer in all than there can be ends the connection', async () => {
  const [here, there] = pair(4 * 2 ** 20)
  const closed = once(there.stream, 'close')
  void here.links.send('epoch', [Buffer.alloc(6 * 2 ** 20)])
  await closed
  assert.deepEqual(there.said, [])
})

test('a connection on which nothing comes is told from one that speaks', async () => {
  const [here, there] = pair()
  assert.equal(here.links.quietMs('beats'), Infinity)
  while (here.links.quietMs('data') < 30) await nodeClock().sleep(5)
  there.links.say(beat)
  await heard(here, 1)
  assert.ok(here.links.quietMs('data') < 30)
})
