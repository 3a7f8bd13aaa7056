/** `holdfast vm migrate` */
import type { Command } from 'commander'
import { formatSize } from '../../base/units.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { MigratePrecheck, MigrateVm } from '../../contracts/vm-requests.ts'
import type { Cli } from '../cli.ts'
import { resolveId } from '../connection/resolve.ts'
import { countOption, given, sizeOption, waitOptions } from '../options.ts'
import { writeDone } from '../output/show.ts'
import { finishTask } from '../task-finish.ts'
import type { WaitFlags } from '../task-wait.ts'
import { onHost } from './vm-facts.ts'

interface MigrateFlags extends WaitFlags {
  readonly to?: string
  readonly datastore?: string
  readonly maxBandwidth?: number
  readonly allowPostCopy?: true
  readonly autoConverge: boolean
  readonly downtimeLimit?: number
  readonly multifd?: number
  readonly tls: boolean
  readonly check?: true
  readonly force?: true
}

export function defineVmMigrate(command: Command, cli: Cli): void {
  const migrate = command.command('migrate').description('move a running VM to another host without stopping it')
  waitOptions(migrate.argument('<vm>', 'name or id'))
    .option('--to <host>', 'where to; without it (and without --datastore) a host is chosen')
    .option('--datastore <datastore>', 'move the disks there too; without --to the disks alone')
    .option('--force', 'go there although a rule that must be kept forbids it')
    .option('--check', 'say whether it would work, and do nothing')
    .option('--max-bandwidth <size>', 'at most this much a second, such as 50M', sizeOption)
    .option('--allow-post-copy', 'switch to post-copy where it does not converge')
    .option('--no-auto-converge', 'do not slow the guest down to make it converge')
    .option('--downtime-limit <ms>', 'the guest may stand still this long at the switch, milliseconds', countOption)
    .option('--multifd <channels>', 'send memory over this many connections', countOption)
    .option('--no-tls', 'send in the clear: for measuring beside plain QEMU only')
    .action(async (word: string, options: MigrateFlags) => {
      const session = await cli.session()
      const vm = await resolveId(session, 'vm', word)
      const body = migrateBody(options)
      if (options.check === true) {
        const verdict = await session.client.call('precheckMigrate', { params: { vm }, body })
        return writeVerdict(cli, word, verdict)
      }
      const task = await session.change('migrateVm', { params: { vm }, body })
      await finishTask(cli, session, task, options, async () => `${word} runs${await onHost(session, vm)}`)
    })
}

function migrateBody(options: MigrateFlags): MigrateVm {
  return given({
    host: options.to,
    datastore: options.datastore,
    maxBandwidth: options.maxBandwidth,
    allowPostCopy: options.allowPostCopy,
    autoConverge: options.autoConverge ? undefined : false,
    downtimeLimitMs: options.downtimeLimit,
    force: options.force,
    multifdChannels: options.multifd,
    tls: options.tls ? undefined : false,
  })
}

function writeVerdict(cli: Cli, word: string, verdict: MigratePrecheck): void {
  const { plan } = verdict
  if (verdict.isPossible || cli.flags.json) {
    const disks = plan === null || plan.movingDiskBytes === 0 ? '' : ` and ${formatSize(plan.movingDiskBytes)} of disks`
    const what = plan === null ? '' : `: to ${plan.host}, ${formatSize(plan.memoryBytes)} of memory${disks}`
    writeDone(cli, verdict, `${word} can move${what}`)
  }
  if (!verdict.isPossible) throw new HoldfastError('refused', `${word} cannot move so`, { reasons: verdict.reasons })
}
