/** The manager's door: wires the real ports; `managerCommand()` and the functions behind it are for the CLI. */
import { Command, InvalidArgumentError, Option } from 'commander'
import { readFileSync } from 'node:fs'
import { networkInterfaces, hostname } from 'node:os'
import { dirname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { jsonLogger, nodeClock, nodeFiles, nodeNetwork, nodeProcesses, nodeRandom } from '../base/node/index.ts'
import { describeError, HoldfastError } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import { roles, type Role } from '../contracts/routes.ts'
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

/** A new API token, for who can read the data folder. */
export function createApiToken(options: ManagerPlace & { name: string; role: Role }): Promise<string> {
  const folder = folderOf(options)
  return makeApiToken(folder, setUpPorts(folder, jsonLogger({ level: 'warn' })), options.name, options.role)
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

/** `holdfast manager …` with all its verbs. */
export function managerCommand(): Command {
  const manager = new Command('manager').description('the manager: inventory, decisions, API')
  const data = (command: Command): Command =>
    command.option('--data <folder>', 'the data folder', process.env['HOLDFAST_MANAGER_DATA'] ?? defaultDataFolder)
  data(manager.command('init'))
    .description('set a manager up: certificate authority, inventory, first administrator token')
    .option('--address <address...>', 'where agents and people reach this machine (default: its own addresses)')
    .option('--name <name>', 'name of the cluster', 'holdfast')
    .addOption(listenOption())
    .action(async (options: { data: string; address?: string[]; name: string; listen?: Listen }) => {
      const { url, folder } = await initManager({
        ...{ dataDirectory: options.data, clusterName: options.name, listen: options.listen },
        ...(options.address === undefined ? {} : { addresses: options.address }),
      })
      process.stdout.write(`${folder} is set up; the manager will serve ${url}.\nStart it: holdfast manager run\n`)
    })
  data(manager.command('run'))
    .description('run the manager')
    .addOption(listenOption())
    .action((options: { data: string; listen?: Listen }) =>
      runManager({ dataDirectory: options.data, listen: options.listen }),
    )
  addTokenCommand(data(manager.command('token')))
  data(manager.command('backup <folder>'))
    .description('copy inventory and certificate authority into a new folder (the manager must not run)')
    .action((to: string, options: { data: string }) => backupManager({ dataDirectory: options.data, to }))
  data(manager.command('restore <folder>'))
    .description('put a backup into the data folder (the manager must not run)')
    .action(async (from: string, options: { data: string }) => {
      const { incarnation } = await restoreManager({ dataDirectory: options.data, from })
      process.stdout.write(`restored as incarnation ${incarnation}; hosts say what they run before anything starts\n`)
    })
  return manager
}

function addTokenCommand(command: Command): void {
  command
    .description('a one-time token for `holdfast agent join` (or, with --api, a token for the API)')
    .option('--valid-minutes <minutes>', 'how long a join token works', (text) => Number(text))
    .addOption(new Option('--api <role>', 'an API token of this role instead').choices(roles))
    .option('--name <name>', 'name of the API token (default: the time of its making)')
    .action(async (options: { data: string; validMinutes?: number; api?: Role; name?: string }) => {
      const name = options.name ?? `token ${new Date().toISOString().slice(0, 19).replaceAll(':', '.')}`
      const place = { dataDirectory: options.data }
      const token =
        options.api === undefined
          ? await createJoinToken({ ...place, validMinutes: options.validMinutes })
          : await createApiToken({ ...place, name, role: options.api })
      process.stdout.write(`${token}\n`)
    })
}

interface Listen {
  readonly host: string
  readonly port: number
}

function listenOption(): Option {
  return new Option(
    '--listen <address:port>',
    `where to listen (default: every address, port ${defaultPort})`,
  ).argParser((text): Listen => {
    const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:]+)):([0-9]{1,5})$/.exec(text)
    const port = Number(match?.[3])
    if (match === null || port > 65535) throw new InvalidArgumentError('write it as ADDRESS:PORT')
    return { host: match[1] ?? match[2] ?? '::', port }
  })
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

/** What a person reads when a verb fails. */
export function describeFailure(thrown: unknown): string {
  const mend = thrown instanceof HoldfastError ? thrown.details.mend : undefined
  return mend === undefined ? describeError(thrown) : `${describeError(thrown)}\n${mend}`
}
