/** Puts a pump together from its order, and runs it to its end. */
import { describeError, HoldfastError } from '../../../base/errors.ts'
import type { Logger } from '../../../base/log.ts'
import type { Network } from '../../../base/network.ts'
import type { Processes } from '../../../base/processes.ts'
import type { StreamIdentity } from '../../../base/streams.ts'
import {
  defaultProtectionSettings,
  type ArbiterApi,
  type ProtectionConfig,
  type SecondEndpoint,
} from '../../../contracts/protection.ts'
import { runPaths, type MachineRecord } from '../../../hypervisor/run-directory.ts'
import { toldManagers } from '../../managers-file.ts'
import { IdentityFiles, type Identity } from '../../identity.ts'
import type { PumpMemory } from '../pumps.ts'
import { arbitersOf } from './arbiters.ts'
import { takeClockFile } from './clock-file.ts'
import { ClockKeeper } from './clock-keeper.ts'
import { ClockLag } from './clock-lag.ts'
import type { ControlCall } from './control.ts'
import { ControlServer } from './control-server.ts'
import { PumpMemoryFile } from './memory-file.ts'
import type { OrderFile } from './order-file.ts'
import { PrimaryGuest } from './primary-guest.ts'
import { machineRecord, openControl, type GuestPorts } from './qemu-of-vm.ts'
import { MirroredDisks, noDisks } from './primary-disks.ts'
import { PrimaryPump } from './primary-pump.ts'
import { bringUpToDate } from './replay.ts'
import { Salvage } from './salvage.ts'
import { JournaledImages, noSecondDisks } from './second-disks.ts'
import { SecondPump } from './second-pump.ts'

export interface PumpPorts extends GuestPorts {
  readonly network: Network
  readonly log: Logger
  readonly processes: Processes
}

interface Running {
  readonly pump: PrimaryPump | SecondPump | Salvage
  readonly endpoint: SecondEndpoint | null
  readonly act: (call: ControlCall) => Promise<void>
}

interface Context {
  readonly ports: PumpPorts
  readonly identity: Identity
  readonly tls: StreamIdentity
  readonly memory: PumpMemoryFile
  readonly stack: AsyncDisposableStack
  /** The arbiter of a configuration. */
  readonly arbiter: (config: ProtectionConfig) => ArbiterApi
  readonly onStatus: () => void
}

/** How long whoever started it may take to hear that it could not begin. */
const tellFailureMs = 5000

/** Resolves when the pump has ended, with all that follows done. `runDirectory`: the VM's. */
export async function runPump(ports: PumpPorts, order: OrderFile, runDirectory: string): Promise<void> {
  await using stack = new AsyncDisposableStack()
  const control = stack.use(await ControlServer.open(ports, runDirectory))
  try {
    const context = await contextOf(ports, order, stack, () => control.changed())
    const { pump, endpoint, act } = await begin(context, order)
    control.begun(endpoint, pump, act)
    const end = await pump.run()
    ports.log.info({ end }, 'the pump has ended')
  } catch (err) {
    ports.log.error({ err: describeError(err) }, 'the pump could not go on')
    control.failed(err)
    await ports.clock.sleep(tellFailureMs)
  }
}

async function contextOf(
  ports: PumpPorts,
  order: OrderFile,
  stack: AsyncDisposableStack,
  onStatus: () => void,
): Promise<Context> {
  const store = new IdentityFiles(ports, order.dataDirectory)
  const identity = await store.read()
  if (identity === undefined) throw new HoldfastError('wrong-state', 'this machine is no host of a cluster')
  const tls = { ca: identity.ca, cert: identity.certificate, key: await store.readKey() }
  const memory = new PumpMemoryFile(ports.files, order.dataDirectory, order.order.vm)
  const arbiter = arbitersOf(
    { ...ports, identity: () => tls, managers: () => toldManagers(ports.files, order.dataDirectory) },
    order.order.arbiter,
  )
  return { ports, identity, tls, memory, stack, arbiter, onStatus }
}

function begin(context: Context, order: OrderFile): Promise<Running> {
  if (order.mode === 'salvage') return beginSalvage(context, order)
  return order.side === 'primary' ? beginPrimary(context, order) : beginSecond(context, order)
}

async function beginPrimary(
  context: Context,
  { order, tracking }: Extract<OrderFile, { mode: 'start'; side: 'primary' }>,
): Promise<Running> {
  const { ports, tls, memory, arbiter, onStatus, stack } = context
  const record = await machineRecord(ports.files, order.runDirectory)
  const qmp = await openControl(ports, record)
  const disks = order.copies.length === 0 ? noDisks : new MirroredDisks(ports, record, qmp, order)
  ports.log.info({ ...tracking }, 'how the pages that the guest writes are found')
  const guest = await PrimaryGuest.open(ports, record, qmp, disks, tracking)
  const { tlsName: peerName } = order.second
  const connect: ConstructorParameters<typeof PrimaryPump>[0]['connect'] = (link, signal) =>
    ports.streams.connect({ ...order.second[link], peerName }, tls, signal)
  const limitMs = order.settings.clockLimitMs ?? defaultProtectionSettings.clockLimitMs
  const guestClock = new ClockLag(limitMs, await takeClockFile(ports.files, record))
  stack.use(keepClock(ports, record, guest, guestClock))
  const deps = { ...ports, memory, arbiter, connect, onStatus, guestClock }
  const pump = new PrimaryPump(deps, order, record, guest, disks)
  const act = async ({ do: what, change }: ControlCall): Promise<void> => {
    if (what === 'end') await pump.end()
    else if (what === 'hand-over') await pump.handOver()
    else if (what === 'change-arbiter' && change !== undefined) await pump.changeArbiter(change)
    else if (what === 'pause' || what === 'resume') await pump.setPaused(what === 'pause')
    else throw new HoldfastError('wrong-state', `the primary cannot ${what}`)
  }
  return { pump, endpoint: null, act }
}

/** Looks after the guest's clock until it is disposed. */
function keepClock(ports: PumpPorts, record: MachineRecord, guest: PrimaryGuest, lag: ClockLag): AsyncDisposable {
  const { guestAgent } = runPaths(record.config.runDirectory)
  const listening = guest.qmp.onEvent(({ event }) => event === 'RESET' && lag.rebooted())
  const ending = new AbortController()
  const keeper = new ClockKeeper({
    ...{ clock: ports.clock, log: ports.log, lag, isPaused: () => guest.isPaused },
    connect: async () => (await ports.streams.connectUnix(guestAgent, record.process.pid)).stream,
  })
  const kept = keeper.run(ending.signal)
  return {
    async [Symbol.asyncDispose]() {
      listening[Symbol.dispose]()
      ending.abort()
      await kept
    },
  }
}

async function beginSecond(
  context: Context,
  file: Extract<OrderFile, { mode: 'start'; side: 'second' }>,
): Promise<Running> {
  const { ports, identity, tls, memory, stack, arbiter, onStatus } = context
  const { order, listen } = file
  const record = await machineRecord(ports.files, order.runDirectory)
  const qmp = await openControl(ports, record)
  const hasDisks = order.copies.length > 0
  const disks = hasDisks ? new JournaledImages(ports, record, qmp, file.dataDirectory, order.vm) : noSecondDisks
  const pump = new SecondPump({ ...ports, memory, arbiter, onStatus }, order, record, qmp, disks)
  const refused = (why: string): void => ports.log.warn({ why }, 'a stranger was turned away')
  const hear = async (link: 'data' | 'beats') => {
    const at = { host: listen[link], port: 0, peerName: order.primaryTlsName }
    const { port } = stack.use(await ports.streams.listen(at, tls, (stream) => pump.accept(link, stream), refused))
    return { host: listen[link], port }
  }
  const [data, beats] = [await hear('data'), await hear('beats')]
  const endpoint = { data, beats, tlsName: identity.tlsName, nbd: order.nbd, exports: order.exports }
  const act = async ({ do: what }: ControlCall): Promise<void> => {
    if (what !== 'drop') throw new HoldfastError('wrong-state', `the second cannot ${what}`)
    await pump.drop()
  }
  return { pump, endpoint, act }
}

async function beginSalvage(
  context: Context,
  { order, dataDirectory }: Extract<OrderFile, { mode: 'salvage' }>,
): Promise<Running> {
  const { ports, memory, arbiter } = context
  const found = await memory.read()
  if (found === undefined) throw new HoldfastError('not-found', `no pump of ${order.vm} has left anything`)
  const record = await machineRecord(ports.files, order.runDirectory).catch(() => undefined)
  const isAlive = record !== undefined && (await ports.processes.isAlive(record.process))
  const qmp = isAlive ? await openControl(ports, record).catch(() => undefined) : undefined
  const replay = (): Promise<void> => bringUpToDate(ports, dataDirectory, order.vm, order.runDirectory)
  const pump = new Salvage({ ...ports, memory, arbiter, replay }, order, found satisfies PumpMemory, { record, qmp })
  const act = (): Promise<void> =>
    Promise.reject(new HoldfastError('wrong-state', 'the pump has died; wait for the arbiter'))
  return { pump, endpoint: null, act }
}
