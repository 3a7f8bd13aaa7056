/** `holdfast manager …`: the verbs and their options. What they do is loaded when one is run: help should not wait for it. */
import { Command, InvalidArgumentError, Option } from 'commander'
import { roles, type Role } from '../contracts/roles.ts'
import { defaultDataFolder, defaultPort } from './data-folder.ts'

const main = () => import('./main.ts')
const inventory = () => import('./inventory-main.ts')

/** `holdfast manager …` with all its verbs. */
export function managerCommand(): Command {
  const manager = new Command('manager').description('the manager: inventory, decisions, API')
  const data = (command: Command): Command =>
    command.option('--data <folder>', 'the data folder', process.env['HOLDFAST_MANAGER_DATA'] ?? defaultDataFolder)
  data(manager.command('init'))
    .description('set a manager up: certificate authority, inventory, first administrator token')
    .option('--address <address...>', 'where agents and people reach this machine (default: its own addresses)')
    .option('--name <name>', 'name of the cluster', 'holdfast')
    .option('--manager-name <name>', "what this manager is called among others (default: this machine's name)")
    .option('--store <address>', 'where the inventory is: sqlite, or etcd://ADDRESS:PORT,…[/PREFIX]', 'sqlite')
    .option('--store-ca <file>', "with etcds://: the certificate of etcd's authority")
    .option('--store-cert <file>', 'with etcds://: the certificate that etcd knows managers by')
    .option('--store-key <file>', 'with etcds://: its key')
    .addOption(listenOption())
    .action(async (options: InitFlags) => {
      const { url, folder } = await (
        await main()
      ).initManager({
        ...{ dataDirectory: options.data, clusterName: options.name, listen: options.listen },
        managerName: options.managerName,
        store: { address: options.store, ca: options.storeCa, cert: options.storeCert, key: options.storeKey },
        ...(options.address === undefined ? {} : { addresses: options.address }),
      })
      process.stdout.write(`${folder} is set up; the manager will serve ${url}.\nStart it: holdfast manager run\n`)
    })
  data(manager.command('run'))
    .description('run the manager')
    .addOption(listenOption())
    .action(async (options: { data: string; listen?: Listen }) =>
      (await main()).runManager({ dataDirectory: options.data, listen: options.listen }),
    )
  addJoinCommand(data(manager.command('join <url>')))
  addTokenCommand(data(manager.command('token')))
  data(manager.command('backup <folder>'))
    .description('copy inventory and certificate authority into a new folder (with SQLite the manager must not run)')
    .action(async (to: string, options: { data: string }) =>
      (await inventory()).backupManager({ dataDirectory: options.data, to }),
    )
  data(manager.command('restore <folder>'))
    .description('put a backup into the data folder, or into its etcd (no manager may run)')
    .action(async (from: string, options: { data: string }) => {
      const { incarnation } = await (await inventory()).restoreManager({ dataDirectory: options.data, from })
      process.stdout.write(`restored as incarnation ${incarnation}; hosts say what they run before anything starts\n`)
    })
  addMigrateCommand(data(manager.command('migrate-store')))
  return manager
}

function addMigrateCommand(command: Command): void {
  command
    .description('move the inventory from SQLite to etcd (the manager must not run; VMs and agents run on)')
    .requiredOption('--to <address>', 'etcd://ADDRESS:PORT,…[/PREFIX]; nothing may be there yet')
    .option('--store-ca <file>', "with etcds://: the certificate of etcd's authority")
    .option('--store-cert <file>', 'with etcds://: the certificate that etcd knows managers by')
    .option('--store-key <file>', 'with etcds://: its key')
    .action(async (options: { data: string; to: string; storeCa?: string; storeCert?: string; storeKey?: string }) => {
      const { records } = await (
        await inventory()
      ).migrateStore({
        dataDirectory: options.data,
        to: { address: options.to, ca: options.storeCa, cert: options.storeCert, key: options.storeKey },
      })
      process.stdout.write(
        `${records} records are in etcd now, each compared.\nStart the manager: holdfast manager run\n`,
      )
    })
}

interface InitFlags {
  readonly data: string
  readonly address?: string[]
  readonly name: string
  readonly managerName?: string
  readonly store: string
  readonly storeCa?: string
  readonly storeCert?: string
  readonly storeKey?: string
  readonly listen?: Listen
}

function addJoinCommand(command: Command): void {
  command
    .description('make this machine one more manager of a cluster whose inventory is in etcd')
    .requiredOption('--token <token>', 'what `holdfast manager token --manager` printed on another manager')
    .option('--address <address...>', 'where agents and people reach this machine (default: its own addresses)')
    .option('--manager-name <name>', "what this manager is called among others (default: this machine's name)")
    .addOption(listenOption())
    .action(
      async (
        url: string,
        options: { data: string; token: string; address?: string[]; managerName?: string; listen?: Listen },
      ) => {
        const { clusterName, folder } = await (
          await main()
        ).joinManager({
          ...{ dataDirectory: options.data, url, token: options.token, listen: options.listen },
          managerName: options.managerName,
          ...(options.address === undefined ? {} : { addresses: options.address }),
        })
        process.stdout.write(`${folder} is a manager of the cluster ${clusterName}.\nStart it: holdfast manager run\n`)
      },
    )
}

function addTokenCommand(command: Command): void {
  command
    .description('a one-time token for `holdfast agent join` (or for one more manager, or for the API)')
    .option('--valid-minutes <minutes>', 'how long a join token works', (text) => Number(text))
    .option('--manager', 'a token for `holdfast manager join` instead: it opens the key of the whole cluster')
    .addOption(new Option('--api <role>', 'an API token of this role instead').choices(roles))
    .option('--name <name>', 'name of the API token (default: the time of its making)')
    .action(async (options: { data: string; validMinutes?: number; manager?: true; api?: Role; name?: string }) => {
      const place = { dataDirectory: options.data }
      if (options.manager === true) {
        const { validMinutes } = options
        process.stdout.write(`${await (await main()).createManagerToken({ ...place, validMinutes })}\n`)
        return
      }
      const token =
        options.api === undefined
          ? await (await main()).createJoinToken({ ...place, validMinutes: options.validMinutes })
          : await (await main()).createApiToken({ ...place, name: options.name, role: options.api })
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
