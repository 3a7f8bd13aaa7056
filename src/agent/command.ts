/** `holdfast agent …`: the verbs and their options. What they do is loaded when one is run: help should not wait for it. */
import { Command, InvalidArgumentError, Option } from 'commander'
import { trackerKinds, type TrackerKind } from '../base/process-memory.ts'
import { defaultAgentPort, defaultDataDirectory, defaultRunDirectory, defaultUpgradeProgram } from './defaults.ts'

export { enoughTakeovers } from './defaults.ts'

const main = () => import('./main.ts')

export interface JoinFlags {
  readonly data: string
  readonly run: string
  readonly token: string
  readonly caFingerprint?: string
  readonly name?: string
  readonly address?: string
  readonly storageAddress?: string
  readonly guestsAddress?: string
  readonly port: string
  readonly uplink?: string
  readonly yes?: boolean
}

interface RunFlags {
  readonly data: string
  readonly run: string
  readonly listen?: string
  readonly allowImport?: string[]
  readonly ftTracker?: TrackerKind
  readonly ftVerify: boolean
  readonly watchdog?: string
  readonly upgradeProgram: string
}

export function dataOption(): Option {
  const place = process.env['HOLDFAST_AGENT_DATA'] ?? defaultDataDirectory
  return new Option('--data <folder>', 'the data folder').default(place)
}

/** For troubleshooting: in `/etc/default/holdfast-agent` it is a line. */
export function trackerOption(): Option {
  return new Option(
    '--ft-tracker <way>',
    'how pages that a protected guest writes are found (default: the best that works)',
  )
    .env('HOLDFAST_FT_TRACKER')
    .choices(trackerKinds)
}

/** Not for every day: each epoch then costs a look at all of the guest's memory, twice. */
function verifyOption(): Option {
  return new Option('--ft-verify <0|1>', 'compare all memory of protected VMs at each epoch, on both hosts')
    .env('HOLDFAST_FT_VERIFY')
    .default(false, '0')
    .argParser((text) => {
      if (text === '0' || text === '1') return text === '1'
      throw new InvalidArgumentError('It is 0 or 1.')
    })
    .hideHelp()
}

/** Used only while VMs are armed: policy `isolation stop`, in a cluster with several managers. */
function watchdogOption(): Option {
  return new Option(
    '--watchdog <path>',
    'the device that resets this machine when VMs that must be stopped cannot be; none: use none (default: /dev/watchdog)',
  ).env('HOLDFAST_WATCHDOG')
}

/** Root's alone: the manager says when it runs, never what it is. */
function upgradeOption(): Option {
  return new Option('--upgrade-program <path>', 'what renews this machine in `holdfast cluster upgrade`')
    .env('HOLDFAST_UPGRADE_PROGRAM')
    .default(defaultUpgradeProgram)
}

/** `holdfast agent …` with all its verbs. */
export function agentCommand(): Command {
  const agent = new Command('agent').description('the agent of this machine: runs VMs for a cluster')
  const { env } = process
  const data = (command: Command): Command =>
    command
      .addOption(dataOption())
      .option('--run <folder>', 'folder of sockets, short', env['HOLDFAST_AGENT_RUN'] ?? defaultRunDirectory)
  data(agent.command('run'))
    .description('run the agent of a machine that has joined')
    .option('--listen <address>', 'address to listen on (default: the management address)')
    .option('--allow-import <folder...>', 'folders that images may be imported from by path')
    .addOption(trackerOption())
    .addOption(verifyOption())
    .addOption(watchdogOption())
    .addOption(upgradeOption())
    .action(async (flags: RunFlags) =>
      (await main()).runAgent({
        ...{ dataDirectory: flags.data, runDirectory: flags.run, allowImport: flags.allowImport ?? [] },
        tracking: { tracker: flags.ftTracker, isVerified: flags.ftVerify },
        ...{ watchdog: flags.watchdog, upgradeProgram: flags.upgradeProgram },
        ...(flags.listen === undefined ? {} : { listen: flags.listen }),
      }),
    )
  data(agent.command('join <manager>'))
    .description('make this machine a host of the cluster of a manager (https://MANAGER:7443)')
    .requiredOption('--token <token>', 'what `holdfast manager token` printed')
    .option('--ca-fingerprint <sha256>', "the cluster's CA, to be checked against the token's")
    .option('--name <name>', "name of the host (default: the machine's)")
    .option('--address <address>', 'by which managers reach this machine')
    .option('--storage-address <address>', 'for migration streams (default: the same)')
    .option('--guests-address <address>', 'for the guests’ networks (default: the same)')
    .option('--port <port>', 'port of the agent', String(defaultAgentPort))
    .option('--uplink <interface>', 'put this interface into a bridge, for VLAN networks')
    .option('--yes', 'do not ask')
    .action(async (manager: string, flags: JoinFlags) => (await main()).joinByCommand(manager, flags))
  data(agent.command('confirm-network'))
    .description('keep the network change that a join has made')
    .action(async (flags: { run: string }) => (await main()).confirmNetwork(flags.run))
  return agent
}
