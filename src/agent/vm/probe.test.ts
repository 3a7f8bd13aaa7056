import assert from 'node:assert/strict'
import { createServer, type AddressInfo, type Server } from 'node:net'
import { duplexPair, type Duplex } from 'node:stream'
import { test } from 'node:test'
import { nodeClock } from '../../base/node/clock.ts'
import { nodeTcpProbe } from '../../base/node/tcp.ts'
import type { VmDeployment } from '../../contracts/agent-api.ts'
import { addressesOf, probeGuest, type ProbePorts } from './probe.ts'

const ports = (connectUnix: ProbePorts['network']['connectUnix'] = noAgent): ProbePorts => ({
  clock: nodeClock(),
  tcp: nodeTcpProbe(),
  network: { connectUnix },
})
const noAgent = async (): Promise<Duplex> => {
  throw new Error('nobody is there')
}
const guest = { agentSocket: '/agent', addresses: [{ address: '127.0.0.1', from: null }] }

/** A port on which somebody listens, and that nobody does once it is disposed. */
async function listening(): Promise<{ port: number } & AsyncDisposable> {
  const server: Server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return { port, [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())) }
}

test('a guest is ready when its port takes connections, and not before', async () => {
  let port: number
  {
    await using door = await listening()
    port = door.port
    assert.deepEqual(await probeGuest(ports(), guest, { kind: 'port', port }), { isReady: true, problem: null })
  }
  const { isReady, problem } = await probeGuest(ports(), guest, { kind: 'port', port })
  assert.equal(isReady, false)
  assert.match(problem ?? '', /does not take connections on port \d+ \(ECONNREFUSED\)/)
})

test('one address of several is enough; without any the port cannot be asked', async () => {
  await using door = await listening()
  const { port } = door
  const two = { ...guest, addresses: [{ address: '127.0.0.2', from: '127.0.0.9' }, ...guest.addresses] }
  assert.equal((await probeGuest(ports(), two, { kind: 'port', port })).isReady, true)
  const none = await probeGuest(ports(), { ...guest, addresses: [] }, { kind: 'port', port })
  assert.match(none.problem ?? '', /no address that Holdfast assigned/)
  await assert.rejects(probeGuest(ports(), guest, { kind: 'port' }), /the port to be asked is not named/)
})

test('a guest is ready when the agent in it answers', async () => {
  const answering = async (): Promise<Duplex> => {
    const [host, far] = duplexPair()
    far.on('data', (data: Buffer) => {
      const mark = /"id":(\d+)/.exec(data.toString('latin1'))?.[1]
      if (mark !== undefined) far.write(Buffer.from(`\xff{"return": ${mark}}\n`, 'latin1'))
    })
    return host
  }
  assert.equal((await probeGuest(ports(answering), guest, { kind: 'guest-agent' })).isReady, true)
  const silent = await probeGuest(
    ports(async () => duplexPair()[0]),
    guest,
    { kind: 'guest-agent' },
  )
  assert.match(silent.problem ?? '', /did not answer/)
  assert.equal((await probeGuest(ports(), guest, { kind: 'guest-agent' })).isReady, false)
})

test('a guest is asked from the service address of the network that it is on', () => {
  const network = (id: string, service: string | null) => ({ network: id, ipv4: service === null ? null : { service } })
  const nic = (on: string, address: string | null) => ({ network: on, address })
  const deployment = {
    spec: { nics: [nic('net-1', '10.0.0.5'), nic('net-2', null), nic('net-3', '10.2.0.5')] },
    networks: [network('net-1', '10.0.0.254'), network('net-3', null)],
  } as unknown as VmDeployment
  assert.deepEqual(addressesOf(deployment), [
    { address: '10.0.0.5', from: '10.0.0.254' },
    { address: '10.2.0.5', from: null },
  ])
})
