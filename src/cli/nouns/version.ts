/** `holdfast version` */
import type { Command } from 'commander'
import { HoldfastError } from '../../base/errors.ts'
import type { Cli } from '../cli.ts'
import { writeFacts } from '../output/show.ts'

export function define(command: Command, cli: Cli): void {
  command
    .option('--client', 'of this program alone, without asking the manager')
    .action(async (options: { client?: true }) => {
      const manager = options.client === true ? undefined : await managerVersion(cli)
      const versions = {
        client: cli.version,
        node: process.versions.node,
        ...(manager === undefined ? {} : { manager }),
      }
      writeFacts(cli, versions, [
        ['holdfast', cli.version],
        ['node', versions.node],
        ['manager', manager],
      ])
    })
}

/** The version of the manager that is signed in to; undefined where there is none, or none that answers. */
async function managerVersion(cli: Cli): Promise<string | undefined> {
  try {
    return (await (await cli.session()).client.call('getCluster')).version
  } catch (thrown) {
    if (thrown instanceof HoldfastError) return undefined
    throw thrown
  }
}
