/** `holdfast vm protect`, `vm unprotect` and `vm settle` */
import { Option, type Command } from 'commander'
import { HoldfastError } from '../../base/errors.ts'
import { formatSize } from '../../base/units.ts'
import type { ProtectPrecheck, ProtectVm } from '../../contracts/vm-protection.ts'
import type { Cli } from '../cli.ts'
import { resolveId, resolveObject } from '../connection/resolve.ts'
import { confirm, countOption, given, waitOptions, yesOption } from '../options.ts'
import { writeDone } from '../output/show.ts'
import { finishTask } from '../task-finish.ts'
import type { WaitFlags } from '../task-wait.ts'
import { protectionWords } from './vm-protection-words.ts'

type Mode = NonNullable<ProtectVm['mode']>

/** Said here too: to load the schemas costs more than all the rest of a command. */
const modes: readonly Mode[] = Object.keys({ latency: 0, throughput: 0 } satisfies Record<Mode, 0>) as Mode[]

interface ProtectFlags extends WaitFlags {
  readonly host?: string
  readonly mode?: Mode
  readonly silence?: number
  readonly beat?: number
  readonly shortestEpoch?: number
  readonly longestEpoch?: number
  readonly clockLimit?: number
  readonly check?: true
}

export function defineVmProtect(command: Command, cli: Cli): void {
  const protect = command
    .command('protect')
    .description('hold a running VM in step on a second host, which goes on with it when the first fails')
  waitOptions(protect.argument('<vm>', 'name or id'))
    .option('--host <host>', 'the host of the second copy, instead of a placed one')
    .addOption(
      new Option('--mode <mode>', 'latency: answers leave sooner; throughput: the guest is stopped less often').choices(
        modes,
      ),
    )
    .option('--silence <ms>', 'give the other side up after this long without a word, milliseconds', countOption)
    .option('--beat <ms>', 'between two words of life, milliseconds', countOption)
    .option('--shortest-epoch <ms>', 'while output waits to leave, milliseconds', countOption)
    .option('--longest-epoch <ms>', 'while nothing waits, milliseconds', countOption)
    .option(
      '--clock-limit <ms>',
      "raise an alarm when the guest's clock is so far behind, milliseconds; 0: never",
      countOption,
    )
    .option('--check', 'say whether it would work, and do nothing')
    .action(async (word: string, options: ProtectFlags) => {
      const session = await cli.session()
      const vm = await resolveId(session, 'vm', word)
      const body = protectBody(options)
      if (options.check === true) {
        const verdict = await session.client.call('precheckProtect', { params: { vm }, body })
        return writeVerdict(cli, word, verdict)
      }
      const task = await session.change('protectVm', { params: { vm }, body })
      await finishTask(cli, session, task, options, async () => {
        const { protection } = await session.client.call('getVm', { params: { vm } })
        return `${word} is ${protectionWords(protection) ?? 'not protected'}`
      })
    })

  const unprotect = command.command('unprotect').description('end the protection; the VM runs on where it runs')
  waitOptions(unprotect.argument('<vm>', 'name or id')).action(async (word: string, options: WaitFlags) => {
    const session = await cli.session()
    const vm = await resolveId(session, 'vm', word)
    const task = await session.change('unprotectVm', { params: { vm }, body: {} })
    await finishTask(cli, session, task, options, () => `${word} is not protected any more`)
  })
  defineSettle(command, cli)
}

function defineSettle(command: Command, cli: Cli): void {
  const settle = command
    .command('settle')
    .description('give the newest copy up for lost, where both hosts of a protected VM are off and nobody can say more')
  yesOption(settle.argument('<vm>', 'name or id')).action(async (word: string, options: { yes?: boolean }) => {
    const session = await cli.session()
    const { id, name, host } = await resolveObject(session, 'vm', word)
    const question = `Is the newest copy of ${name} lost for good? It goes back to what ${host ?? 'its host'} had of it; what it has written since is given up.`
    await confirm(cli, options.yes, question)
    const after = await session.change('settleVm', { params: { vm: id }, body: { iAmSure: true } })
    writeDone(
      cli,
      after,
      `${name} is what ${host ?? 'its host'} had of it; it starts wherever its disks can be reached`,
    )
  })
}

function protectBody(options: ProtectFlags): ProtectVm {
  const settings = given({
    silenceMs: options.silence,
    beatMs: options.beat,
    shortestEpochMs: options.shortestEpoch,
    longestEpochMs: options.longestEpoch,
    clockLimitMs: options.clockLimit,
  })
  const hasSettings = Object.keys(settings).length > 0
  return given({ host: options.host, mode: options.mode, settings: hasSettings ? settings : undefined })
}

function writeVerdict(cli: Cli, word: string, verdict: ProtectPrecheck): void {
  const { plan } = verdict
  if (verdict.isPossible || cli.flags.json) {
    const disks = plan === null || plan.diskBytes === 0 ? '' : ` and ${formatSize(plan.diskBytes)} of disks`
    const what =
      plan === null
        ? ''
        : `: second copy on ${plan.second} (${formatSize(plan.memoryBytes)} of memory${disks}), ${plan.arbiter} decides`
    writeDone(cli, verdict, `${word} can be protected${what}`)
  }
  if (!verdict.isPossible)
    throw new HoldfastError('refused', `${word} cannot be protected`, { reasons: verdict.reasons })
}
