import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HoldfastError } from '../base/errors.ts'
import type { Client } from '../contracts/client.ts'
import type { Event } from '../contracts/inventory.ts'
import { fakeManager, fakeTerminal, fakeWorld, type FakeTerminal } from './testing/fake-surroundings.ts'
import { page, sampleEvent } from './testing/samples.ts'

type Step = Event | 'relist' | 'break' | 'end'

/** A stream that goes through connections; each notes the place from which it was asked. */
function streamOf(connections: Step[][], terminal: FakeTerminal) {
  const asked: (string | undefined)[] = []
  const events: Client['events'] = async function* (after) {
    const steps = connections[asked.length]
    asked.push(after)
    if (steps === undefined) return terminal.interrupt()
    for (const step of steps) {
      if (step === 'break') throw new HoldfastError('unreachable', 'the event stream broke')
      if (step === 'end') return
      yield step
    }
  }
  const manager = fakeManager({ getCluster: () => ({ revision: 5 }), listEvents: () => page(at(3), at(4)) }, { events })
  return { asked, manager }
}

const at = (revision: number, sequence = 0): Event => sampleEvent({ revision, sequence, message: `event ${revision}` })

test('the stream goes on after breaks from the last event seen, with nothing lost or doubled', async () => {
  const terminal = fakeTerminal()
  const { asked, manager } = streamOf([[at(6), at(7, 1), 'break'], ['end'], [at(8)]], terminal)
  const world = fakeWorld(manager, { terminal })
  assert.equal(await world.run('event', 'list', '--follow'), 130)
  assert.deepEqual(asked.slice(1, 4), ['7.1', '7.1', '8.0'])
  assert.equal(asked[0], '5')
  const messages = [...terminal.written.out.matchAll(/event (\d)/g)].map((match) => match[1])
  assert.deepEqual(messages, ['6', '7', '8'])
  assert.match(terminal.written.err, /broke off; connecting again/)
})

test('--last shows the past first and follows from its end', async () => {
  const terminal = fakeTerminal()
  const { asked, manager } = streamOf([[at(5)]], terminal)
  await fakeWorld(manager, { terminal }).run('event', 'list', '--follow', '--last', '1', '--json')
  assert.equal(asked[0], '4.0')
  const lines = terminal.written.out.trim().split('\n')
  assert.deepEqual(
    lines.map((line) => (JSON.parse(line) as { id: string; name: string }).id),
    ['4.0', '5.0'],
  )
})

test('a place that is no longer kept is told, and the stream goes on from now', async () => {
  const terminal = fakeTerminal()
  const { asked, manager } = streamOf([['relist'], [at(9)]], terminal)
  await fakeWorld(manager, { terminal }).run('event', 'list', '--follow', '--after', '1.0')
  assert.equal(asked[0], '1.0')
  assert.equal(asked[1], '5')
  assert.match(terminal.written.err, /were missed/)
})

test('a stream that is refused ends the command', async () => {
  const terminal = fakeTerminal()
  const { manager } = streamOf([], terminal)
  manager.client.events = async function* () {
    throw new HoldfastError('not-signed-in', 'the token was revoked')
  }
  assert.equal(await fakeWorld(manager, { terminal }).run('event', 'list', '--follow'), 6)
})
