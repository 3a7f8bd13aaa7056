/**
 * Two pumps and two real QEMUs on one machine: a guest is held in step, its host dies, and a client that counts its ticks
 * misses none.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import { connect } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { HostId, VmId } from '../../src/base/ids.ts'
import { nodeStreams } from '../../src/base/node/index.ts'
import { NodePumps } from '../../src/agent/protect/pump/node-pumps.ts'
import { claimed, looked, opened } from '../../src/contracts/protection-register.ts'
import {
  defaultProtectionSettings,
  type ArbiterAddress,
  type ProtectionConfig,
  type RegisterRecord,
} from '../../src/contracts/protection.ts'
import { makeAuthority, makeHost } from './hypervisor-certificates.ts'
import { deps, eventually, TestHost } from './hypervisor-guest.ts'

const vm = 'vm-1' as VmId
const config: ProtectionConfig = {
  vm,
  n: 1,
  primary: 'host-1' as HostId,
  second: 'host-2' as HostId,
  arbiter: 'host-3' as HostId,
}
const bridge = 'hfpt0'
const [gateway, address] = ['10.88.77.1', '10.88.77.50']

const sh = (line: string): void => void execFileSync('sh', ['-c', line], { stdio: 'pipe' })

function makeNetwork(): Disposable {
  const remove = (): void => sh(`for i in hfpta hfptb ${bridge}; do ip link del $i 2>/dev/null || true; done`)
  remove()
  sh(
    `ip link add ${bridge} type bridge && ip link set ${bridge} address 02:00:00:88:77:01 up && ip addr add ${gateway}/24 dev ${bridge}`,
  )
  for (const tap of ['hfpta', 'hfptb'])
    sh(`ip tuntap add ${tap} mode tap vnet_hdr && ip link set ${tap} master ${bridge} up`)
  return { [Symbol.dispose]: remove }
}

/** The arbiter's door, with the real register behind it. */
async function arbiter(folder: string) {
  let record: RegisterRecord | undefined
  const tls = (name: string): Buffer => readFileSync(join(folder, 'host-3.holdfast', name))
  const server = createServer(
    { ca: tls('ca-cert.pem'), cert: tls('server-cert.pem'), key: tls('server-key.pem'), requestCert: true },
    (request, response) => {
      let text = ''
      request.on('data', (chunk: Buffer) => (text += chunk.toString()))
      request.on('end', () => {
        const body = JSON.parse(text) as { config: ProtectionConfig; n: number; side: 'primary' | 'second' }
        const decide = () => {
          switch (request.url) {
            case '/v1/arbiter-life':
              return { life: 'one' }
            case '/v1/arbiter-open':
              record = opened(record, body.config)
              return {}
            case '/v1/arbiter-look':
              return looked(record, body.n, body.side)
            default: {
              const decided = claimed(record, body.n, body.side)
              record = decided.record ?? record
              return decided.answer
            }
          }
        }
        response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(decide()))
      })
    },
  )
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  const at: ArbiterAddress = {
    arbiter: 'host-3' as HostId,
    urls: [`https://127.0.0.1:${port}`],
    tlsName: 'host-3.holdfast',
  }
  return {
    at,
    [Symbol.dispose]: (): void => {
      server.close()
      server.closeAllConnections()
    },
  }
}

class Host {
  readonly pumps: NodePumps
  constructor(folder: string, name: string, runDirectory: string) {
    const dataDirectory = join(folder, `${name}-data`)
    const tls = makeHost(folder, `${name}.holdfast`)
    mkdirSync(dataDirectory, { recursive: true })
    const identity = {
      tlsName: `${name}.holdfast`,
      ca: readFileSync(join(tls, 'ca-cert.pem'), 'utf8'),
      certificate: readFileSync(join(tls, 'server-cert.pem'), 'utf8'),
    }
    writeFileSync(join(dataDirectory, 'identity.json'), JSON.stringify(identity))
    writeFileSync(join(dataDirectory, 'key.pem'), readFileSync(join(tls, 'server-key.pem')))
    this.pumps = new NodePumps({
      ...deps,
      streams: nodeStreams(),
      dataDirectory,
      runDirectory: () => runDirectory,
      listen: { data: '127.0.0.1', beats: '127.0.0.1' },
      program: [process.execPath, fileURLToPath(new URL('../../src/agent/protect/pump/main.ts', import.meta.url))],
    })
  }
}

/** Counts the guest's ticks on one connection. */
class Ticks implements Disposable {
  readonly #socket = connect({ host: address, port: 7001, noDelay: true })
  readonly problems: string[] = []
  #rest = ''
  #last = 0
  count = 0
  longestSilence = 0
  constructor() {
    this.#socket.on('error', (cause) => this.problems.push(cause.message))
    this.#socket.on('close', () => this.problems.push('closed'))
    this.#socket.on('data', (data) => {
      const now = performance.now()
      if (this.#last > 0) this.longestSilence = Math.max(this.longestSilence, now - this.#last)
      this.#last = now
      const lines = (this.#rest + data.toString()).split('\n')
      this.#rest = lines.pop() ?? ''
      for (const line of lines) {
        if (line !== String(this.count)) this.problems.push(`${line} in place of ${this.count}`)
        this.count = Number(line) + 1
      }
    })
  }
  [Symbol.dispose](): void {
    this.#socket.removeAllListeners()
    this.#socket.destroy()
  }
}

test('a guest is held in step, its host dies, and nobody outside notices', async (t) => {
  using _network = makeNetwork()
  await using host = await TestHost.open()
  const certificates = join(host.folder, 'tls')
  makeAuthority(certificates)
  const mac = '52:54:00:88:77:50'
  const nic = (tap: string) => ({
    nics: [{ key: 1, model: 'virtio' as const, mac, slot: '5', tap }],
    machineType: 'pc-i440fx-7.2',
  })
  const a = await host.config('a', nic('hfpta'))
  const b = await host.config('b', nic('hfptb'))
  const [first, second] = [
    new Host(certificates, 'host-1', a.runDirectory),
    new Host(certificates, 'host-2', b.runDirectory),
  ]
  makeHost(certificates, 'host-3.holdfast')
  using register = await arbiter(certificates)
  const { machine, serial } = await host.boot(a)
  await serial.command(`ip link set eth0 up; ip addr add ${address}/24 dev eth0; pkill udhcpc`)
  const waiting = await host.start(b, 'incoming')
  const order = { vm, config, arbiter: register.at, copies: [], settings: defaultProtectionSettings }
  const { pump: secondPump, endpoint } = await second.pumps.startSecond({
    ...order,
    runDirectory: b.runDirectory,
    primaryTlsName: 'host-1.holdfast',
    nbd: null,
    exports: [],
  })
  using ticks = new Ticks()
  await eventually('ticks', () => ticks.count > 3 || undefined)
  const started = performance.now()
  const pump = await first.pumps.startPrimary({ ...order, runDirectory: a.runDirectory, second: endpoint })
  await eventually(
    () => `protected; it is ${JSON.stringify(pump.status)}`,
    () => pump.status.phase === 'protecting' || undefined,
    20_000,
  )
  t.diagnostic(
    `protected after ${Math.round(performance.now() - started)} ms; longest silence ${Math.round(ticks.longestSilence)} ms`,
  )
  ticks.longestSilence = 0
  const from = ticks.count
  await eventually('ticks under protection', () => ticks.count > from + 300 || undefined)
  t.diagnostic(
    `status ${JSON.stringify(pump.status)}; second ${JSON.stringify(secondPump.status)}; longest silence ${Math.round(ticks.longestSilence)} ms`,
  )
  ticks.longestSilence = 0
  // The host dies: its QEMU and its pump at once.
  process.kill(machine.pid, 'SIGKILL')
  const {
    process: { pid },
  } = JSON.parse(readFileSync(join(a.runDirectory, 'pump.json'), 'utf8')) as { process: { pid: number } }
  process.kill(pid, 'SIGKILL')
  const killed = ticks.count
  await eventually(
    () =>
      `ticks after the takeover ${JSON.stringify(secondPump.status)} ${readFileSync(join(b.runDirectory, 'pump.log'), 'utf8').slice(-2000)}`,
    () => ticks.count > killed + 100 || undefined,
    20_000,
  )
  t.diagnostic(`failover: longest silence ${Math.round(ticks.longestSilence)} ms`)
  assert.deepEqual(ticks.problems, [])
  await secondPump.gone
  assert.equal((await second.pumps.memory(vm))?.phase, 'running')
  assert.equal(await waiting.state(), 'running')
  await pump[Symbol.asyncDispose]()
  await secondPump[Symbol.asyncDispose]()
  rmSync(certificates, { recursive: true })
})
