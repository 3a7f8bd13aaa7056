/** `holdfast host fence …`: what can switch a host off from outside. */
import { InvalidArgumentError, type Command } from 'commander'
import type { FenceTest } from '../../contracts/fence.ts'
import type { Host } from '../../contracts/inventory.ts'
import type { Cli } from '../cli.ts'
import { resolveId, resolveObject } from '../connection/resolve.ts'
import { Exit, exitCodes } from '../exit-codes.ts'
import { choice, collect, confirm, countOption, given, readSecretOption, waitOptions, yesOption } from '../options.ts'
import { writeDone, writeJson } from '../output/show.ts'
import { ageWords } from '../output/words.ts'
import { finishTask } from '../task-finish.ts'
import type { WaitFlags } from '../task-wait.ts'

const thens = ['on', 'off'] as const
type Then = (typeof thens)[number]

export function defineFencing(command: Command, cli: Cli): void {
  defineSet(command, cli)
  defineRemove(command, cli)
  defineTest(command, cli)
  defineFence(command, cli)
}

interface SetFlags {
  readonly agent: string
  readonly option?: readonly (readonly [string, string])[]
  readonly passwordFile?: string
  readonly secretFile?: readonly (readonly [string, string])[]
  readonly level?: number
  readonly then?: Then
  readonly untested?: true
}

function defineSet(command: Command, cli: Cli): void {
  command
    .command('set-fence')
    .description('set a device that can switch the host off; it is asked for its status first')
    .argument('<host>', 'name or id')
    .requiredOption('--agent <agent>', 'the fence agent, such as fence_ipmilan')
    .option('--option <name=value>', 'an option of the agent; give it several times', collectPair)
    .option('--password-file <file>', 'a file with the password (- is standard input); kept sealed')
    .option('--secret-file <name=file>', 'a file with another secret option of the agent', collectPair)
    .option('--level <n>', 'add it to this level instead of replacing all; 2 is tried when 1 fails', countOption)
    .addOption(choice('--then <power>', 'after it was fenced and its VMs are free (default: on)', thens))
    .option('--untested', 'set it although it does not answer now')
    .action(async (word: string, flags: SetFlags) => {
      const session = await cli.session()
      const host = await resolveId(session, 'host', word)
      const { agent, level, then, untested } = flags
      const options = Object.fromEntries(flags.option ?? [])
      const secrets = await readSecrets(cli, flags)
      const body = given({ agent, options, secrets, level, then, untested })
      const after = await session.change('setHostFence', { params: { host }, body })
      writeDone(cli, after, `${after.name} can be fenced by ${agent}`)
    })
}

function collectPair(text: string, before: [string, string][] | undefined): [string, string][] {
  const at = text.indexOf('=')
  if (at < 1) throw new InvalidArgumentError('Write it as NAME=VALUE.')
  return collect([text.slice(0, at), text.slice(at + 1)], before)
}

async function readSecrets(cli: Cli, flags: SetFlags): Promise<Record<string, string> | undefined> {
  const files = [
    ...(flags.passwordFile === undefined ? [] : [['password', flags.passwordFile] as const]),
    ...(flags.secretFile ?? []),
  ]
  const entries = await Promise.all(
    files.map(async ([name, path]) => [name, await readSecretOption(cli, path)] as const),
  )
  return entries.length === 0 ? undefined : Object.fromEntries(entries)
}

function defineRemove(command: Command, cli: Cli): void {
  const remove = command.command('remove-fence').description('remove the fence devices of a host')
  yesOption(
    remove.argument('<host>', 'name or id').option('--level <n>', 'those of this level only', countOption),
  ).action(async (word: string, { level, yes }: { level?: number; yes?: boolean }) => {
    const session = await cli.session()
    const host = await resolveObject(session, 'host', word)
    const what = level === undefined ? 'the fence devices' : `level ${level} of the fence devices`
    await confirm(cli, yes, `Remove ${what} of ${host.name}?`)
    const after = await session.change('removeHostFence', { params: { host: host.id }, query: given({ level }) })
    const left = after.fence?.levels.length ?? 0
    writeDone(
      cli,
      after,
      left === 0 ? `${after.name} cannot be fenced any more` : `${after.name} has ${left} level(s) left`,
    )
  })
}

function defineTest(command: Command, cli: Cli): void {
  const test = command
    .command('fence-test')
    .description('ask every fence device of a host for its status; with --cycle try off and on (in maintenance only)')
  yesOption(waitOptions(test.argument('<host>', 'name or id')))
    .option('--cycle', 'switch the host off and on again by every level')
    .action(async (word: string, flags: WaitFlags & { cycle?: true; yes?: boolean }) => {
      const session = await cli.session()
      const host = await resolveObject(session, 'host', word)
      if (flags.cycle === true) {
        await confirm(cli, flags.yes, `Switch ${host.name} off and on again?`)
        const task = await session.change('cycleHostFence', { params: { host: host.id }, body: {} })
        await finishTask(cli, session, task, flags, () => `${host.name} was switched off and on by its fence devices`)
        return
      }
      const result = await session.change('testHostFence', { params: { host: host.id }, body: {} })
      if (cli.flags.json) writeJson(cli, result)
      else cli.terminal.out(testWords(result))
      if (result.state === 'failing') throw new Exit(exitCodes.failed)
    })
}

function testWords({ devices }: FenceTest): string {
  return devices
    .map(
      ({ level, agent, power, problem }) => `level ${level}  ${agent}: ${problem ?? `works; says ${power ?? '?'}`}\n`,
    )
    .join('')
}

function defineFence(command: Command, cli: Cli): void {
  const fence = command
    .command('fence')
    .description('switch a host off now by its fence devices; its VMs start elsewhere')
  yesOption(waitOptions(fence.argument('<host>', 'name or id')))
    .option('--force', 'also a host that is connected: its VMs die with it')
    .addOption(choice('--then <power>', 'once its VMs are free (default: off)', thens))
    .action(async (word: string, flags: WaitFlags & { force?: true; then?: Then; yes?: boolean }) => {
      const session = await cli.session()
      const host = await resolveObject(session, 'host', word)
      await confirm(cli, flags.yes, `Switch ${host.name} off, with whatever runs on it (${host.vmCount} VMs)?`)
      const body = given({ force: flags.force, then: flags.then })
      const task = await session.change('fenceHost', { params: { host: host.id }, body })
      await finishTask(cli, session, task, flags, () => `${host.name} is off; its VMs may be started elsewhere`)
    })
}

/** The devices without their secrets, and the last test; undefined where there are none. */
export function fenceFacts({ fence, name }: Host, nowMs: number): string | undefined {
  if (fence == null) return undefined
  const devices = fence.levels.flatMap((level, at) =>
    level.map(({ agent, options, secrets }) => {
      const plain = Object.entries(options).map(([key, value]) => `${key}=${value}`)
      return [`level ${at + 1}  ${agent}`, ...plain, ...secrets.map((key) => `${key}=(kept sealed)`)].join(' ')
    }),
  )
  const tested = fence.testedAt === null ? '' : `, tested ${ageWords(fence.testedAt, nowMs)}`
  const state = fence.problem ?? (fence.state === 'ok' ? 'works' : `not tested: holdfast host fence-test ${name}`)
  return [...devices, `${state}${tested}`, `after fencing: ${fence.then}`].join('\n')
}
