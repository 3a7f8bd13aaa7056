/** The manager's wiring with the real ports: what the verbs of command.ts do. */
import { readFileSync } from 'node:fs'
import { networkInterfaces, hostname } from 'node:os'
import { dirname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  jsonLogger,
  keepMemoryLow,
  nodeClock,
  nodeFiles,
  nodeMailer,
  nodeNetwork,
  nodeProcesses,
  nodeRandom,
} from '../base/node/index.ts'
import { isoTime } from '../base/clock.ts'
import { HoldfastError } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import type { Role } from '../contracts/roles.ts'
import { Authority } from '../manager/app/authority.ts'
import { processFencer, type Fencer } from '../manager/app/fence-agents.ts'
import { sealedOf } from '../manager/app/alarm-parts.ts'
import { Manager } from '../manager/app/manager.ts'
import type { Store } from '../manager/store/store.ts'
import { openSqliteStore } from '../manager/store/sqlite/sqlite-store.ts'
import { parseStoreAddress } from './store-address.ts'
import type { StorePlace } from '../contracts/manager-join.ts'
import { checkInventory, inventoryMarks, openClustered, openLed, ownIdentity } from './etcd-wiring.ts'
import { joinManager as join } from './join-manager.ts'
import { DataFolder, defaultDataFolder, defaultPort, type ManagerSettings } from './data-folder.ts'
import { RunningManager, type RunningOptions } from './running-manager.ts'
import { initManager as init, makeApiToken, makeJoinToken, makeManagerToken, type SetUpPorts } from './set-up.ts'

const root = resolve(import.meta.dirname, '../..')

export interface ManagerPlace {
  /** Default /var/lib/holdfast/manager. */
  readonly dataDirectory?: string | undefined
}

export interface RunOptions extends ManagerPlace {
  /** Instead of what init was told. */
  readonly listen?: { readonly host: string; readonly port: number } | undefined
  readonly logger?: Logger
}

export interface InitOptions extends ManagerPlace {
  /** Where agents and people reach this machine; more than one may be given. Default: its own addresses. */
  readonly addresses?: readonly string[]
  readonly clusterName?: string | undefined
  /** What this manager is called among others; default: this machine's name. */
  readonly managerName?: string | undefined
  readonly store?: StoreOptions
  readonly listen?: { readonly host: string; readonly port: number } | undefined
}

/** Where the inventory is to be: `etcd://…`, and with `etcds://` files of certificates, PEM. */
export interface StoreOptions {
  readonly address: string
  readonly ca?: string | undefined
  readonly cert?: string | undefined
  readonly key?: string | undefined
}

export interface JoinManagerFlags extends ManagerPlace {
  readonly url: string
  readonly token: string
  readonly addresses?: readonly string[]
  readonly managerName?: string | undefined
  readonly listen?: { readonly host: string; readonly port: number } | undefined
}

/** The process leads no more: it ends with this code and is started anew as a standby (EX_TEMPFAIL). */
export const leadLostCode = 75

/** Of commands: what goes well is theirs to say. */
export function quietLogger(): Logger {
  return jsonLogger({ level: 'warn' })
}

export function realPorts() {
  return {
    clock: nodeClock(),
    files: nodeFiles(),
    network: nodeNetwork(),
    mailer: nodeMailer(),
    processes: nodeProcesses(),
    random: nodeRandom(),
  }
}

function version(): string {
  return (JSON.parse(readFileSync(`${root}/package.json`, 'utf8')) as { version: string }).version
}

export function folderOf(place: ManagerPlace): DataFolder {
  return new DataFolder(nodeFiles(), resolve(place.dataDirectory ?? defaultDataFolder))
}

/** Ports for what is done in the data folder while no manager runs. */
function setUpPorts(
  folder: DataFolder,
  logger: Logger,
  given?: { settings: ManagerSettings; place: StorePlace },
): SetUpPorts {
  const ports = realPorts()
  const open = async (): Promise<AsyncDisposable & { store: Store }> => {
    const settings = given?.settings ?? ((await folder.isComplete()) ? await folder.settings() : undefined)
    const place = given?.place ?? (settings === undefined ? undefined : await folder.storePlace(settings))
    if (settings !== undefined && place !== undefined)
      return openLed({ ...ports, logger }, place, ownIdentity(settings, hostname()))
    const store = await openSqliteStore({ path: folder.inventory, clock: ports.clock, logger })
    return { store, [Symbol.asyncDispose]: () => store[Symbol.asyncDispose]() }
  }
  return {
    ...ports,
    ...(given === undefined ? {} : { inventory: inventoryMarks({ ...ports, logger }, given.place) }),
    async openManager(authority, clusterName) {
      const opened = await open()
      const { store } = opened
      const unreachable = new HoldfastError('unreachable', 'the manager does not run')
      const agents = (): never => {
        throw unreachable
      }
      const manager = await Manager.open({
        ...ports,
        store,
        logger,
        authority,
        agents,
        version: version(),
        clusterName,
      })
      const close = manager[Symbol.asyncDispose].bind(manager)
      return Object.assign(manager, {
        async [Symbol.asyncDispose]() {
          await close()
          await opened[Symbol.asyncDispose]()
        },
      })
    },
  }
}

/** Sets a manager up. Throws `wrong-state` when the folder is one already. */
export async function initManager(options: InitOptions): Promise<{ url: string; folder: string }> {
  const folder = folderOf(options)
  const place = options.store === undefined ? undefined : await storePlace(options.store)
  const settings: ManagerSettings = {
    v: 1,
    clusterName: options.clusterName ?? 'holdfast',
    name: options.managerName ?? ownName(),
    listen: options.listen ?? { host: '::', port: defaultPort },
    addresses: options.addresses === undefined || options.addresses.length === 0 ? ownAddresses() : options.addresses,
  }
  const logger = jsonLogger({ level: 'warn' })
  if (place === undefined) await init(folder, setUpPorts(folder, logger), settings)
  else {
    await folder.make()
    const id = await folder.identity(() => nodeRandom().uuid())
    const ports = setUpPorts(folder, logger, { settings: { ...settings, id }, place })
    await init(folder, ports, { ...settings, store: await folder.keepStorePlace(place) })
  }
  const client = await folder.client()
  return { url: client?.url ?? '', folder: folder.path }
}

/** What a manager that runs is to whoever has started it. */
export interface StartedManager extends AsyncDisposable {
  readonly port: number
  /** Of one of several: resolves, with why, when it leads no more and its process must end; rejects where it cannot run. */
  readonly lost?: Promise<string>
}

/** Starts the manager; it serves until it is disposed. */
export async function startManager(options: RunOptions): Promise<StartedManager> {
  const folder = folderOf(options)
  const settings = await identified(folder, await folder.settings())
  const logger = options.logger ?? jsonLogger()
  const ports = realPorts()
  const authority = await Authority.open(folder.authority, ports)
  const common = {
    ...{ ...ports, logger, authority, version: version(), clusterName: settings.clusterName },
    fencing: { fencer: fencerOf(ports), sealed: await sealedOf(authority, ports.random) },
    serverFolder: folder.server,
    addresses: certificateNames(settings),
    listen: options.listen ?? settings.listen,
    web: { files: ports.files, processes: ports.processes, nodePath: process.execPath, ...webPlaces() },
  }
  const place = await folder.storePlace(settings)
  if (place !== undefined) {
    return openClustered({ ports: common, folder, settings, place, authority, hostname: ownName() })
  }
  return startAlone(common, folder, settings)
}

async function startAlone(
  common: Omit<RunningOptions, 'store'>,
  folder: DataFolder,
  settings: ManagerSettings,
): Promise<StartedManager> {
  const { clock, logger } = common
  await using made = new AsyncDisposableStack()
  const store = made.use(await openSqliteStore({ path: folder.inventory, clock, logger }))
  const self = ownIdentity(settings, ownName())
  const since = isoTime(clock.now())
  const living = { ...self, version: common.version }
  const running = made.use(
    await RunningManager.open({
      ...{ ...common, store },
      ...(common.listen === settings.listen ? { urls: self.urls } : {}),
      cluster: {
        living: async () => [{ ...living, seen: isoTime(clock.now()) }],
        leader: () => ({ manager: self.manager, since }),
        forget: async () => undefined,
        members: async () => [],
      },
    }),
  )
  const held = made.move()
  return { port: running.port, [Symbol.asyncDispose]: () => held.disposeAsync() }
}

/** Fence agents of the distribution, and our own; they find their programs in the usual places, and Node. */
function fencerOf(ports: ReturnType<typeof realPorts>): Fencer {
  const folders = ['/usr/sbin', '/sbin', `${root}/libexec/fence`]
  return processFencer(ports, folders, `/usr/sbin:/usr/bin:/sbin:/bin:${dirname(process.execPath)}`)
}

/** A folder of an older version gets what managers are known by: also to an etcd to which its move was cut short. */
async function identified(folder: DataFolder, settings: ManagerSettings): Promise<ManagerSettings> {
  if (settings.id !== undefined && settings.name !== undefined) return settings
  const id = settings.id ?? (await folder.identity(() => nodeRandom().uuid()))
  const whole = { ...settings, id, name: settings.name ?? ownName() }
  await folder.writeSettings(whole)
  return whole
}

/**
 * Runs until SIGTERM or SIGINT, then closes in order. A second signal ends it at once. One of several that has lost the lead ends
 * at once and without order, whatever is under way: nothing of it can be written any more, and it must not go on as if it could.
 */
export async function runManager(options: RunOptions): Promise<void> {
  const logger = options.logger ?? jsonLogger()
  using _memory = keepMemoryLow()
  const running = await startManager({ ...options, logger })
  logger.info({ port: running.port }, 'the manager is ready')
  const signal = new Promise<string>((done) => {
    for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => done(name))
  })
  const never = new Promise<never>(() => undefined)
  const end = await Promise.race([signal.then((name) => ({ name })), (running.lost ?? never).then((why) => ({ why }))])
  if ('why' in end) {
    logger.error({ why: end.why }, 'this manager leads no more: it ends, and is started anew')
    process.exit(leadLostCode)
  }
  logger.info({ signal: end.name }, 'the manager is stopping')
  await running[Symbol.asyncDispose]()
  logger.info({}, 'the manager has stopped')
}

/** A one-time token for `holdfast agent join`. */
export function createJoinToken(options: ManagerPlace & { validMinutes?: number | undefined }): Promise<string> {
  const folder = folderOf(options)
  return makeJoinToken(folder, setUpPorts(folder, jsonLogger({ level: 'warn' })), options.validMinutes)
}

/** A new API token, for who can read the data folder. Without a name it is called by the time of its making. */
export function createApiToken(options: ManagerPlace & { name?: string | undefined; role: Role }): Promise<string> {
  const folder = folderOf(options)
  const ports = setUpPorts(folder, jsonLogger({ level: 'warn' }))
  const name = options.name ?? `token ${isoTime(ports.clock.now()).slice(0, 19).replaceAll(':', '.')}`
  return makeApiToken(folder, ports, name, options.role)
}

function ownAddresses(): string[] {
  const all = Object.values(networkInterfaces()).flatMap((each) => each ?? [])
  const usable = all.filter((each) => !each.internal && !each.address.startsWith('fe80'))
  const found = [...usable].sort((a, b) => a.family.localeCompare(b.family)).map((each) => each.address)
  return found.length === 0 ? ['127.0.0.1'] : found
}

/** Everything by which this machine may be reached now; the certificate is made anew when something is missing. */
function certificateNames(settings: ManagerSettings): string[] {
  const own = [hostname(), 'localhost', '127.0.0.1', '::1'].filter((name) => /^[A-Za-z0-9.:-]+$/.test(name))
  return [...new Set([...settings.addresses, ...ownAddresses(), ...own])]
}

function webPlaces(): { webDirectory: string; novncDirectory: string; openApiPath: string } {
  const novnc = fileURLToPath(import.meta.resolve('@novnc/novnc'))
  return {
    webDirectory: `${root}/web`,
    novncDirectory: resolve(dirname(novnc), '..'),
    openApiPath: `${root}/docs/api/openapi.json`,
  }
}

/** An own name that may be a manager's: letters, digits, dots, dashes. */
export function ownName(): string {
  const name = (hostname().split('.')[0] ?? '').replace(/[^A-Za-z0-9-]/g, '').replace(/^-+|-+$/g, '')
  return name === '' ? 'manager' : name
}

/** Throws `invalid-request` for what names no inventory, or certificates that cannot be read. */
export async function storePlace({ address, ca, cert, key }: StoreOptions): Promise<StorePlace | undefined> {
  const place = parseStoreAddress(address)
  const isTls = place?.endpoints.some((endpoint) => endpoint.startsWith('https:')) === true
  if (isTls !== (ca !== undefined) || (cert === undefined) !== (key === undefined)) {
    throw new HoldfastError('invalid-request', 'etcds:// goes with certificates, and nothing else does', {
      mend: 'Give --store-ca, and --store-cert with --store-key where etcd asks for a certificate.',
    })
  }
  if (place === undefined || ca === undefined) return place
  const read = async (path: string): Promise<string> => {
    try {
      return await nodeFiles().readText(resolve(path))
    } catch (cause) {
      throw new HoldfastError('invalid-request', `${path} cannot be read`, {}, { cause })
    }
  }
  const own = cert === undefined || key === undefined ? {} : { cert: await read(cert), key: await read(key) }
  return { ...place, tls: { ca: await read(ca), ...own } }
}

/** Makes this machine one more manager of a cluster. */
export async function joinManager(options: JoinManagerFlags): Promise<{ clusterName: string; folder: string }> {
  const folder = folderOf(options)
  const ports = { ...realPorts(), logger: jsonLogger({ level: 'warn' }) }
  const { url, token } = options
  const { clusterName } = await join(
    folder,
    { ...ports, checkStore: (place, cluster) => checkInventory(ports, place, cluster) },
    {
      ...{ url, token, name: options.managerName ?? ownName() },
      listen: options.listen ?? { host: '::', port: defaultPort },
      addresses: options.addresses === undefined || options.addresses.length === 0 ? ownAddresses() : options.addresses,
    },
  )
  return { clusterName, folder: folder.path }
}

/** A one-time token for `holdfast manager join`. */
export function createManagerToken(options: ManagerPlace & { validMinutes?: number | undefined }): Promise<string> {
  const folder = folderOf(options)
  return makeManagerToken(folder, setUpPorts(folder, jsonLogger({ level: 'warn' })), options.validMinutes)
}
