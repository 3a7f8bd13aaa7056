import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HoldfastError } from '../base/errors.ts'
import { openWebSocket } from './http-exchange.ts'
import { problemMediaType, toProblem } from './problem-errors.ts'

/** A network on which every WebSocket is refused with this answer. */
function refusing(contentType: string, answer: string) {
  const details = { status: 409, contentType, answer }
  return { webSocket: () => Promise.reject(new HoldfastError('host-error', 'refused with status 409', details)) }
}

test('a WebSocket that is refused with a problem throws that problem, with what to do', async () => {
  const inUse = new HoldfastError('wrong-state', 'the serial line is in use', {
    mend: 'Leave the other console first.',
  })
  const network = refusing(problemMediaType, JSON.stringify(toProblem(inUse)))
  await assert.rejects(openWebSocket(network, 'wss://host/console', {}), {
    code: 'wrong-state',
    message: 'the serial line is in use',
    details: { mend: 'Leave the other console first.' },
  })
})

test('another refusal keeps its status, and shows nothing of a foreign page', async () => {
  for (const contentType of ['text/html', problemMediaType]) {
    const opening = openWebSocket(refusing(contentType, '<html>'), 'wss://host/console', {})
    await assert.rejects(opening, { code: 'host-error', details: { status: 409 } })
  }
})
