/** `holdfast cluster …` */
import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { writeFacts } from '../output/show.ts'
import { counted } from '../output/words.ts'
import { defineAdmission } from './cluster-admission.ts'
import { defineFencingSettings } from './cluster-fencing.ts'
import { defineUpgrade } from './cluster-upgrade.ts'

export function define(command: Command, cli: Cli): void {
  defineFencingSettings(command, cli)
  defineAdmission(command, cli)
  defineUpgrade(command, cli)
  command
    .command('show')
    .description('show the cluster and where it is reached')
    .action(async () => {
      const session = await cli.session()
      const cluster = await session.client.call('getCluster')
      const { counts } = cluster
      writeFacts(cli, cluster, [
        ['name', cluster.name],
        ['id', cluster.id],
        ['uuid', cluster.uuid],
        ['manager', `${session.settings.url} (from ${session.settings.source})`],
        ['version', cluster.version],
        ['revision', `${cluster.revision}`],
        ['cpu baseline', cluster.cpuBaseline],
        ['hosts', `${counts.hosts}`],
        ['vms', `${counts.vms}, ${counts.running} running`],
        ['tasks', counted(counts.tasks, 'open task')],
      ])
    })
}
