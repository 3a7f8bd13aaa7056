import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HoldfastError } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import { nodeProcesses } from '../base/node/index.ts'
import { VirtualClock } from '../sim/virtual-clock.ts'
import type { Identity } from './identity.ts'
import { keepCertificate, type RenewalDeps } from './renewal.ts'

const dayMs = 86_400_000

/** A certificate that begins now. */
async function certificate(days: number): Promise<string> {
  const request = [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-keyout',
    '/dev/null',
  ]
  const made = await nodeProcesses().run('openssl', [...request, '-subj', '/CN=host-1.holdfast', '-days', String(days)])
  assert.equal(made.code, 0, made.stderr)
  return made.stdout
}

/** An agent that looks after its certificate, from now on by a clock of its own. */
async function keeping(renew: () => Promise<{ certificate: string; ca: string }>) {
  const clock = new VirtualClock({ startMs: Date.now() })
  const log: string[] = []
  const [used, written]: [Identity[], Identity[]] = [[], []]
  const say = (_fields: unknown, text: string): void => void log.push(text)
  const deps = {
    ...{ clock, log: { info: say, warn: say, error: say } as unknown as Logger },
    store: { request: async () => 'a request', write: async (identity: Identity) => void written.push(identity) },
    manager: { renew },
    use: async (identity: Identity) => void used.push(identity),
  } as unknown as RenewalDeps
  const first = { certificate: await certificate(30), ca: 'old', host: 'host-1' } as Identity
  const over = new AbortController()
  void keepCertificate(deps, first, over.signal)
  return { clock, log, used, written, over }
}

test('a certificate is renewed once a third of its time is left, also when the manager is away for days', async () => {
  const next = await certificate(60)
  let isAway = true
  const { clock, used, written, over } = await keeping(async () => {
    if (isAway) throw new HoldfastError('unreachable', 'away')
    return { certificate: next, ca: 'new' }
  })
  await clock.advance(19 * dayMs)
  isAway = false
  await clock.advance(dayMs / 2)
  assert.equal(used.length, 0, 'too early')
  isAway = true
  await clock.advance(5 * dayMs)
  assert.equal(used.length, 0)
  isAway = false
  await clock.advance(2 * 3_600_000)
  assert.deepEqual(
    used.map(({ certificate, ca, host }) => ({ certificate, ca, host })),
    [{ certificate: next, ca: 'new', host: 'host-1' }],
  )
  assert.deepEqual(written, used)
  await clock.advance(5 * dayMs)
  assert.equal(used.length, 1, 'the new one is not renewed again')
  over.abort(new Error('over'))
})

test('one that has ended is told with what to do', async () => {
  const { clock, log, over } = await keeping(() =>
    Promise.reject(new HoldfastError('not-allowed', 'the certificate of this host has ended')),
  )
  await clock.advance(29 * dayMs)
  assert.ok(!log.some((line) => line.includes('has ended')))
  await clock.advance(2 * dayMs)
  assert.match(log.at(-1) ?? '', /has ended.*holdfast agent join/)
  over.abort(new Error('over'))
})
