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
  nodeNetwork,
  nodeProcesses,
  nodeRandom,
} from '../base/node/index.ts'
import { isoTime } from '../base/clock.ts'
import { HoldfastError } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import type { Role } from '../contracts/roles.ts'
import { Authority } from '../manager/app/authority.ts'
import { Manager } from '../manager/app/manager.ts'
import { openSqliteStore, restoreSqliteStore } from '../manager/store/sqlite/sqlite-store.ts'
import { DataFolder, defaultDataFolder, defaultPort, type ManagerSettings } from './data-folder.ts'
import { RunningManager } from './running-manager.ts'
import { initManager as init, makeApiToken, makeJoinToken, type SetUpPorts } from './set-up.ts'

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
  readonly listen?: { readonly host: string; readonly port: number } | undefined
}

function realPorts() {
  return {
    clock: nodeClock(),
    files: nodeFiles(),
    network: nodeNetwork(),
    processes: nodeProcesses(),
    random: nodeRandom(),
  }
}

function version(): string {
  return (JSON.parse(readFileSync(`${root}/package.json`, 'utf8')) as { version: string }).version
}

function folderOf(place: ManagerPlace): DataFolder {
  return new DataFolder(nodeFiles(), resolve(place.dataDirectory ?? defaultDataFolder))
}

/** Ports for what is done in the data folder while no manager runs. */
function setUpPorts(folder: DataFolder, logger: Logger): SetUpPorts {
  const ports = realPorts()
  return {
    ...ports,
    async openManager(authority, clusterName) {
      const store = await openSqliteStore({ path: folder.inventory, clock: ports.clock, logger })
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
          await store[Symbol.asyncDispose]()
        },
      })
    },
  }
}

/** Sets a manager up. Throws `wrong-state` when the folder is one already. */
export async function initManager(options: InitOptions): Promise<{ url: string; folder: string }> {
  const folder = folderOf(options)
  const settings: ManagerSettings = {
    v: 1,
    clusterName: options.clusterName ?? 'holdfast',
    listen: options.listen ?? { host: '::', port: defaultPort },
    addresses: options.addresses === undefined || options.addresses.length === 0 ? ownAddresses() : options.addresses,
  }
  await init(folder, setUpPorts(folder, jsonLogger({ level: 'warn' })), settings)
  const client = await folder.client()
  return { url: client?.url ?? '', folder: folder.path }
}

/** Starts the manager; it serves until it is disposed. */
export async function startManager(options: RunOptions): Promise<RunningManager & AsyncDisposable> {
  const folder = folderOf(options)
  const settings = await folder.settings()
  const logger = options.logger ?? jsonLogger()
  const ports = realPorts()
  const authority = await Authority.open(folder.authority, ports)
  const store = await openSqliteStore({ path: folder.inventory, clock: ports.clock, logger })
  try {
    const running = await RunningManager.open({
      ...{ ...ports, logger, store, authority, version: version(), clusterName: settings.clusterName },
      serverFolder: folder.server,
      addresses: certificateNames(settings),
      listen: options.listen ?? settings.listen,
      web: { files: ports.files, processes: ports.processes, nodePath: process.execPath, ...webPlaces() },
    })
    const close = running[Symbol.asyncDispose].bind(running)
    return Object.assign(running, {
      async [Symbol.asyncDispose]() {
        await close()
        await store[Symbol.asyncDispose]()
      },
    })
  } catch (thrown) {
    await store[Symbol.asyncDispose]()
    throw thrown
  }
}

/** Runs until SIGTERM or SIGINT, then closes in order. A second signal ends it at once. */
export async function runManager(options: RunOptions): Promise<void> {
  const logger = options.logger ?? jsonLogger()
  using _memory = keepMemoryLow()
  const running = await startManager({ ...options, logger })
  logger.info({ port: running.port }, 'the manager is ready')
  const signal = await new Promise<string>((done) => {
    for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => done(name))
  })
  logger.info({ signal }, 'the manager is stopping')
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

/** Copies inventory and authority of a manager that does not run into a new folder. */
export async function backupManager(options: ManagerPlace & { to: string }): Promise<void> {
  const folder = folderOf(options)
  const { files, clock } = realPorts()
  await folder.settings()
  const to = resolve(options.to)
  if ((await files.stat(to)) !== undefined) {
    throw new HoldfastError('wrong-state', `${to} exists already`, { mend: 'Name a folder that is not there yet.' })
  }
  const logger = jsonLogger({ level: 'warn' })
  await using store = await openSqliteStore({ path: folder.inventory, clock, logger })
  await files.makeDirectory(`${to}/ca`, { mode: 0o700 })
  await files.changeMode(to, 0o700)
  await store.backup(`${to}/inventory.db`)
  await files.changeMode(`${to}/inventory.db`, 0o600)
  for (const name of ['ca/ca.key', 'ca/ca.crt', 'manager.json', 'client.json']) {
    await files.replace(`${to}/${name}`, await files.read(`${folder.path}/${name}`), { mode: 0o600 })
  }
}

/** Puts a backup into a data folder: a new life, in which nothing starts until the hosts have said what they run. */
export async function restoreManager(options: ManagerPlace & { from: string }): Promise<{ incarnation: number }> {
  const folder = folderOf(options)
  const { files, clock } = realPorts()
  const from = resolve(options.from)
  if ((await files.stat(`${from}/inventory.db`)) === undefined) {
    throw new HoldfastError('not-found', `${from} is not a backup of a manager`)
  }
  await folder.make()
  const logger = jsonLogger({ level: 'warn' })
  const restored = await restoreSqliteStore({ from: `${from}/inventory.db`, path: folder.inventory, clock, logger })
  await files.makeDirectory(folder.authority, { mode: 0o700 })
  for (const name of ['ca/ca.key', 'ca/ca.crt', 'client.json', 'manager.json']) {
    if ((await files.stat(`${folder.path}/${name}`)) !== undefined) continue
    await files.replace(`${folder.path}/${name}`, await files.read(`${from}/${name}`), { mode: 0o600 })
  }
  return { incarnation: restored.incarnation }
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
