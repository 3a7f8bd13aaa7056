/** How options are read, and those that several commands share. */
import { InvalidArgumentError, Option, type Command } from 'commander'
import { HoldfastError } from '../base/errors.ts'
import { parseSize } from '../base/units.ts'
import { absolutePath, type Cli } from './cli.ts'
import { Exit, exitCodes } from './exit-codes.ts'

/** Bytes from `10G`, `512MiB`, `4096`. */
export function sizeOption(text: string): number {
  const bytes = parseSize(text)
  if (bytes === undefined)
    throw new InvalidArgumentError('A size is a number with an optional unit: 512M, 10G, 1.5GiB.')
  return bytes
}

/** MiB from `512M`, `2G`; a bare number is MiB already. */
export function memoryOption(text: string): number {
  if (/^[0-9]+$/.test(text.trim())) return Number(text)
  const mebibytes = sizeOption(text) / 2 ** 20
  if (!Number.isInteger(mebibytes)) throw new InvalidArgumentError('Memory is counted in whole MiB: 512M, 2G.')
  return mebibytes
}

export function countOption(text: string): number {
  const value = Number(text)
  if (!/^[0-9]+$/.test(text) || !Number.isSafeInteger(value)) throw new InvalidArgumentError('This is a whole number.')
  return value
}

/** Seconds from `90`, `90s`, `5min`, `2h`. */
export function secondsOption(text: string): number {
  const match = /^([0-9]+(?:\.[0-9]+)?)\s*(s|m|min|h)?$/.exec(text.trim())
  if (match === null) throw new InvalidArgumentError('A time is a number of seconds, or 5min, 2h.')
  const unit = { s: 1, m: 60, min: 60, h: 3600 }[match[2] ?? 's'] ?? 1
  return Number(match[1]) * unit
}

/** Gathers an option that may be given several times. */
export function collect<T>(value: T, before: T[] | undefined | false): T[] {
  return [...(before === undefined || before === false ? [] : before), value]
}

/** An option that is one of these words. */
export function choice(flags: string, description: string, words: readonly string[]): Option {
  return new Option(flags, description).choices([...words])
}

/** Heading of the options of a task. */
export const taskOptionGroup = 'The task:'

/** The options of commands that start a task, in a group of their own below the command's. */
export function waitOptions(command: Command): Command {
  const group = taskOptionGroup
  const timeout = new Option('--timeout <seconds>', 'wait at most this long; the task goes on')
  return command
    .addOption(new Option('--no-wait', 'give the task back at once instead of waiting for its end').helpGroup(group))
    .addOption(timeout.argParser(secondsOption).helpGroup(group))
    .addOption(new Option('--cancel-on-interrupt', 'Ctrl-C cancels the task instead of asking').helpGroup(group))
}

/** The option of commands that destroy something. */
export function yesOption(command: Command): Command {
  return command.option('-y, --yes', 'do not ask')
}

/** Asks before something is destroyed. Without a person to ask, `--yes` has to be given. */
export async function confirm(cli: Cli, isYes: boolean | undefined, question: string): Promise<void> {
  if (isYes === true) return
  if (!cli.terminal.isInTty || !cli.terminal.isErrTty) {
    throw new HoldfastError('invalid-request', `${question} Nobody is there to ask`, { mend: 'Give --yes to go on.' })
  }
  const answer = (await cli.terminal.ask(`${question} [y/N] `))?.trim().toLowerCase()
  if (answer === 'y' || answer === 'yes') return
  cli.terminal.err('Nothing was changed.\n')
  throw new Exit(exitCodes.refused)
}

/** The object without what is undefined: request bodies bear no empty fields. */
export function given<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>
  }
}

/** What a file holds; `-` is standard input. */
export async function readFileOption(cli: Cli, path: string): Promise<string> {
  const { files } = await cli.ports()
  return files.readText(path === '-' ? '/dev/stdin' : absolutePath(cli, path)).catch((cause: unknown) => {
    throw new HoldfastError('not-found', `${path} cannot be read`, {}, { cause })
  })
}

/** The only line of such a file. A secret comes in one: an argument could be read by everybody on this machine. */
export async function readSecretOption(cli: Cli, path: string): Promise<string> {
  const secret = (await readFileOption(cli, path)).replace(/\r?\n$/, '')
  if (secret !== '') return secret
  throw new HoldfastError('invalid-request', `${path} is empty`, { mend: 'Write the secret into it.' })
}
