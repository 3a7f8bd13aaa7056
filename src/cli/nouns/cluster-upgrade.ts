/** `holdfast cluster upgrade` */
import type { Command } from 'commander'
import { HoldfastError } from '../../base/errors.ts'
import type { Task } from '../../contracts/inventory.ts'
import type { Cli } from '../cli.ts'
import type { Session } from '../connection/session.ts'
import { given, secondsOption, waitOptions } from '../options.ts'
import { writeDone, writeFacts } from '../output/show.ts'
import { progressFigures } from '../output/progress.ts'
import { counted, percentWords } from '../output/words.ts'
import { finishTask } from '../task-finish.ts'
import type { WaitFlags } from '../task-wait.ts'
import { resolveId } from '../connection/resolve.ts'

interface Flags extends WaitFlags {
  readonly host?: string[]
  readonly byHand?: true
  readonly hostTimeout?: number
  readonly status?: true
  readonly cancel?: true
}

const examples = `
Examples:
  holdfast cluster upgrade                       # every host, by its own /etc/holdfast/upgrade
  holdfast cluster upgrade --host host2 host3    # these, in this order
  holdfast cluster upgrade --by-hand             # waits at each host until a person has renewed it
  holdfast cluster upgrade --status`

export function defineUpgrade(command: Command, cli: Cli): void {
  const upgrade = command
    .command('upgrade')
    .description('renew hosts one after the other: its VMs move away, the host is renewed, they move back')
    .option('--host <name...>', 'these hosts, in this order (default: all, those with the fewest VMs first)')
    .option('--by-hand', 'wait at each host until a person has renewed it and started its agent anew')
    .option('--host-timeout <time>', 'how long the renewal of one host may take (default: 30min)', secondsOption)
    .option('--status', 'say how the last one stands')
    .option('--cancel', 'end the one that is open')
  waitOptions(upgrade)
    .addHelpText('after', examples)
    .action(async (flags: Flags) => {
      const session = await cli.session()
      if (flags.status === true) return showStatus(cli, session)
      if (flags.cancel === true) return cancelRoll(cli, session)
      const hosts =
        flags.host === undefined
          ? undefined
          : await Promise.all(flags.host.map((word) => resolveId(session, 'host', word)))
      const hostTimeoutSeconds = flags.hostTimeout === undefined ? undefined : Math.round(flags.hostTimeout)
      const task = await session.change('upgradeCluster', {
        body: given({ hosts, byHand: flags.byHand, hostTimeoutSeconds }),
      })
      await finishTask(cli, session, task, flags, doneWords)
    })
}

interface Renewed {
  readonly back: number
  readonly stayed: readonly { readonly name: string; readonly reason: string }[]
  /** VMs that were left without their second copy. */
  readonly alone: readonly string[]
}

/** What came of it. Exported for its test. */
export function doneWords({ result }: Pick<Task, 'result'>): string {
  const hosts = (result?.['hosts'] ?? []) as readonly Renewed[]
  const back = hosts.reduce((sum, host) => sum + host.back, 0)
  const stayed = hosts.flatMap((host) => host.stayed)
  const words = `${counted(hosts.length, 'host')} renewed, ${counted(back, 'VM')} moved back`
  const alone = hosts.at(-1)?.alone ?? []
  const unprotected = alone.length === 0 ? [] : [`without a second copy, since their hosts differ: ${alone.join(', ')}`]
  return [words, ...unprotected, ...stayed.map(({ name, reason }) => `${name} stays where it is: ${reason}`)].join('\n')
}

async function lastRoll(session: Session): Promise<Task | undefined> {
  return (await session.list('listTasks', {})).find(({ name }) => name === 'cluster.upgrade')
}

async function showStatus(cli: Cli, session: Session): Promise<void> {
  const task = await lastRoll(session)
  if (task === undefined) throw new HoldfastError('not-found', 'hosts were never rolled over')
  writeFacts(cli, task, [
    ['task', task.id],
    ['state', task.state],
    ['progress', percentWords(task.progress)],
    ['now', task.ended === null ? progressFigures(task).join(', ') : undefined],
    ['done', task.state === 'done' ? doneWords(task) : undefined],
    ['problem', task.problem?.detail],
    ['what to do', task.problem?.mend],
    ['began', task.created],
    ['ended', task.ended ?? undefined],
  ])
}

async function cancelRoll(cli: Cli, session: Session): Promise<void> {
  const task = await lastRoll(session)
  if (task === undefined || task.ended !== null)
    throw new HoldfastError('wrong-state', 'no hosts are being rolled over')
  const asked = await session.change('cancelTask', { params: { task: task.id }, body: {} })
  writeDone(cli, asked, `${task.id} is to end; VMs stay where they are`)
}
