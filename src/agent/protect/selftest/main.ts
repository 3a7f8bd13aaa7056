/**
 * The program of the self-test, inside its namespaces: `node main.ts PLAN-FILE`. What it says is a line of JSON each
 * (plan.ts). When it ends, or is killed, all that it has started ends with its process namespace.
 */
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:https'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describeError } from '../../../base/errors.ts'
import type { HostId } from '../../../base/ids.ts'
import { silentLogger } from '../../../base/log.ts'
import {
  nodeClock,
  nodeFiles,
  nodeNetwork,
  nodeProcesses,
  nodeRandom,
  nodeStreams,
  nodeTaps,
} from '../../../base/node/index.ts'
import { agentCalls } from '../../../contracts/agent-routes.ts'
import type { ArbiterAddress, ArbiterAskRequest, ArbiterOpenRequest } from '../../../contracts/protection.ts'
import { qemuHypervisor } from '../../../hypervisor/qemu-hypervisor.ts'
import { Arbiter } from '../arbiter.ts'
import { FrameJudge } from './frame-judge.ts'
import type { SelftestFigures, SelftestLine, SelftestPlan } from './plan.ts'
import { runSelftest } from './run-selftest.ts'
import { listenAddress, makeSurroundings, selftestName } from './surroundings.ts'

const pumpProgram = fileURLToPath(new URL('../pump/main.ts', import.meta.url))

function say(line: SelftestLine): void {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

async function hear(judge: FrameJudge, onBroken: (thrown: unknown) => void): Promise<Socket> {
  const socket = createSocket('udp4', (payload) => {
    try {
      judge.take(payload)
    } catch (thrown) {
      onBroken(thrown)
    }
  })
  socket.bind(listenAddress.port, listenAddress.host)
  await once(socket, 'listening')
  return socket
}

/** The real register, at a door of its own. */
async function openArbiter(arbiter: Arbiter, folder: string): Promise<ArbiterAddress> {
  const [key, cert] = ['key.pem', 'certificate.pem'].map((name) => readFileSync(join(folder, name)))
  const decide = async (path: string, text: string): Promise<unknown> => {
    if (path === agentCalls.arbiterLife.path) return { life: arbiter.life }
    if (path === agentCalls.arbiterOpen.path) {
      const { config, life } = JSON.parse(text) as ArbiterOpenRequest
      await arbiter.openConfiguration(config, life)
      return {}
    }
    const { vm, n, side } = JSON.parse(text) as ArbiterAskRequest
    return path === agentCalls.arbiterClaim.path ? arbiter.claim(vm, n, side) : arbiter.look(vm, n, side)
  }
  const server = createServer({ key, cert, ca: cert, requestCert: true }, (request, response) => {
    let text = ''
    request.on('data', (chunk: Buffer) => (text += chunk.toString()))
    request.on('end', () => {
      decide(request.url ?? '', text).then(
        (answer) => response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer)),
        (thrown: unknown) => response.writeHead(500).end(describeError(thrown)),
      )
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  return { arbiter: 'host-3' as HostId, urls: [`https://127.0.0.1:${port}`], tlsName: selftestName }
}

async function main(path: string): Promise<SelftestLine> {
  let takeovers = 0
  try {
    const plan = JSON.parse(readFileSync(path, 'utf8')) as SelftestPlan
    const [clock, files, processes, random] = [nodeClock(), nodeFiles(), nodeProcesses(), nodeRandom()]
    const log = silentLogger
    const bios = await makeSurroundings({ files, processes }, plan.folder)
    const hypervisor = qemuHypervisor(
      { clock, files, log, processes, random, network: nodeNetwork(), taps: nodeTaps() },
      {
        ...{ binaryArguments: ['-bios', bios], accelerator: plan.accelerator },
        probeFile: join(plan.folder, 'kvm-probe.json'),
      },
    )
    const arbiter = await Arbiter.open({ files, random, log }, join(plan.folder, 'arbiter'))
    const judge = new FrameJudge()
    const broken = Promise.withResolvers<never>()
    using stack = new DisposableStack()
    stack.adopt(await hear(judge, broken.reject), (socket) => socket.close())
    const figures: SelftestFigures = await runSelftest(
      {
        ...{ clock, files, processes, random, log, hypervisor, judge, broken: broken.promise, streams: nodeStreams() },
        ...{ arbiter: await openArbiter(arbiter, plan.folder), program: [process.execPath, pumpProgram] },
        onProgress: (progress) => {
          takeovers = progress.takeovers
          say({ is: 'progress', figures: progress })
        },
      },
      plan,
    )
    return { is: 'passed', figures }
  } catch (thrown) {
    return { is: 'failed', why: describeError(thrown), takeovers }
  }
}

const end = await main(process.argv[2] ?? '')
process.stdout.write(`${JSON.stringify(end)}\n`, () => process.exit(end.is === 'passed' ? 0 : 1))
