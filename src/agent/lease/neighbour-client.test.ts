import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Readable } from 'node:stream'
import type { HostId } from '../../base/ids.ts'
import type { HttpRequest, Network } from '../../base/network.ts'
import { usualLeaseTerms } from '../../contracts/host-lease.ts'
import { VirtualClock } from '../../sim/virtual-clock.ts'
import { neighbourClient } from './neighbour-client.ts'

const witness = { host: 'host-2' as HostId, url: 'https://two:1', tlsName: 'host-2.holdfast' }
const request = { host: 'host-1' as HostId, round: 1 }

/** One that answers after so long, unless who asks has given up. */
function slow(clock: VirtualClock, afterMs: number): Network {
  return {
    async request({ signal }: HttpRequest) {
      await clock.sleep(afterMs, signal)
      const body = Readable.from([Buffer.from(JSON.stringify({ isVouched: true, why: '' }))])
      return { status: 200, headers: { 'content-type': 'application/json' }, body }
    },
  } as unknown as Network
}

const ask = (clock: VirtualClock, afterMs: number) =>
  clock.run(
    neighbourClient({ network: slow(clock, afterMs), clock, identity: () => ({ ca: '' }) }, witness).vouch(request),
    60_000,
  )

test('a vouch that comes while there is time to ask counts, and no answer is waited for without end', async () => {
  const clock = new VirtualClock()
  assert.equal((await ask(clock, usualLeaseTerms.askingMs - 100)).isVouched, true)
  await assert.rejects(ask(clock, 30_000), { code: 'timeout' })
})
