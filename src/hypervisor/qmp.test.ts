import assert from 'node:assert/strict'
import { duplexPair, type Duplex } from 'node:stream'
import { test } from 'node:test'
import { nodeClock } from '../base/node/index.ts'
import { openQmp, type QmpEvent } from './qmp.ts'

const clock = nodeClock()
const greeting = { QMP: { version: { qemu: { major: 10, minor: 0, micro: 2 }, package: '' }, capabilities: ['oob'] } }

interface Command {
  readonly execute: string
  readonly id: number
  readonly arguments?: unknown
}

/** A server that hands each command to `answer`; what that gives is sent, with the command's id. */
function server(answer: (command: Command, send: (message: unknown) => void) => void): Duplex {
  const [ours, theirs] = duplexPair()
  const send = (message: unknown): void => void theirs.write(`${JSON.stringify(message)}\r\n`)
  let rest = ''
  theirs.setEncoding('utf8')
  theirs.on('data', (text: string) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) {
      const command = JSON.parse(line) as Command
      if (command.execute === 'qmp_capabilities') send({ return: {}, id: command.id })
      else if (command.execute === 'hang-up') theirs.destroy()
      else answer(command, send)
    }
  })
  send(greeting)
  return ours
}

test('replies find their commands in whatever order they come, and events come in between', async () => {
  const waiting: Command[] = []
  const qmp = await openQmp(
    server((command, send) => {
      waiting.push(command)
      if (waiting.length < 3) return
      send({ event: 'STOP', data: { a: 1 }, timestamp: { seconds: 7, microseconds: 1500 } })
      for (const { id, execute } of waiting.toReversed()) send({ return: execute, id })
    }),
    clock,
  )
  const events: QmpEvent[] = []
  using _ = qmp.onEvent((event) => events.push(event))
  assert.deepEqual(await Promise.all(['one', 'two', 'three'].map((name) => qmp.execute(name))), ['one', 'two', 'three'])
  assert.deepEqual(events, [{ event: 'STOP', data: { a: 1 }, at: 7001.5 }])
})

test('a refusal is a hypervisor-error with what QEMU said', async () => {
  const qmp = await openQmp(
    server(({ id }, send) => send({ error: { class: 'GenericError', desc: 'no such disk' }, id })),
    clock,
  )
  await assert.rejects(qmp.execute('eject'), { code: 'hypervisor-error', message: 'QEMU refused eject: no such disk' })
})

test('a command without an answer times out, and its late answer is dropped', async () => {
  let late: (() => void) | undefined
  const qmp = await openQmp(
    server(({ id, execute }, send) => {
      if (execute === 'slow') late = () => send({ return: 'late', id })
      else send({ return: execute, id })
    }),
    clock,
  )
  await assert.rejects(qmp.execute('slow', {}, { timeoutMs: 10 }), { code: 'timeout' })
  late?.()
  assert.equal(await qmp.execute('next'), 'next')
})

test('a lost connection rejects what is open and what comes after', async () => {
  const qmp = await openQmp(
    server(() => undefined),
    clock,
  )
  const open = qmp.execute('query-status')
  const hangUp = qmp.execute('hang-up')
  await assert.rejects(open, { code: 'unreachable' })
  await assert.rejects(hangUp, { code: 'unreachable' })
  await qmp.closed
  assert.equal(qmp.isOpen, false)
  await assert.rejects(qmp.execute('query-status'), { code: 'unreachable' })
})

test('no greeting in time rejects; nonsense ends the connection', async () => {
  const [ours] = duplexPair()
  await assert.rejects(openQmp(ours, clock, 10), { code: 'timeout' })
  const [mine, theirs] = duplexPair()
  theirs.write('HTTP/1.1 400 Bad Request\r\n\r\n')
  await assert.rejects(openQmp(mine, clock, 1000), { code: 'unreachable' })
})

test('a connection that ends in order has told every event; one that breaks may have kept one back', async () => {
  const clean = await openQmp(
    server((_command, send) => send({ event: 'RESUME' })),
    clock,
  )
  const events: string[] = []
  clean.onEvent(({ event }) => events.push(event))
  clean.execute('cont').catch(() => undefined)
  clean.execute('hang-up').catch(() => undefined)
  await clean.closed
  assert.deepEqual(events, ['RESUME'])
  assert.equal(clean.heardAll, true)

  const stream = server(() => undefined)
  const broken = await openQmp(stream, clock)
  stream.destroy(new Error('reset by the other end'))
  await broken.closed
  assert.equal(broken.heardAll, false)
})
