/** `holdfast agent …`: the verbs and their options. What they do is loaded when one is run: help should not wait for it. */
import { Command } from 'commander'
import { defaultAgentPort, defaultDataDirectory, defaultRunDirectory } from './defaults.ts'

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

/** `holdfast agent …` with all its verbs. */
export function agentCommand(): Command {
  const agent = new Command('agent').description('the agent of this machine: runs VMs for a cluster')
  const { env } = process
  const data = (command: Command): Command =>
    command
      .option('--data <folder>', 'the data folder', env['HOLDFAST_AGENT_DATA'] ?? defaultDataDirectory)
      .option('--run <folder>', 'folder of sockets, short', env['HOLDFAST_AGENT_RUN'] ?? defaultRunDirectory)
  data(agent.command('run'))
    .description('run the agent of a machine that has joined')
    .option('--listen <address>', 'address to listen on (default: the management address)')
    .option('--allow-import <folder...>', 'folders that images may be imported from by path')
    .action(async (flags: { data: string; run: string; listen?: string; allowImport?: string[] }) =>
      (await main()).runAgent({
        ...{ dataDirectory: flags.data, runDirectory: flags.run, allowImport: flags.allowImport ?? [] },
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
