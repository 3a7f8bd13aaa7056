/** The command line as a whole: finds the noun, loads it, parses, runs, and turns what happened into an exit code. */
import { Command, CommanderError, Help, type Option } from 'commander'
import { HoldfastError } from '../base/errors.ts'
import type { Cli, GlobalFlags } from './cli.ts'
import { exitCodeMeanings, exitCodes, type ExitCode } from './exit-codes.ts'
import { nouns, type Noun } from './nouns.ts'
import { taskOptionGroup } from './options.ts'
import { reportError } from './output/report-error.ts'

/** What the program gets from outside: all of `Cli` but the flags, which it parses. */
export type Surroundings = Omit<Cli, 'flags' | 'session' | 'wholeProgram'> & {
  openSession: (cli: Pick<Cli, 'flags' | 'env' | 'cwd'>) => ReturnType<Cli['session']>
}

const valueFlags = ['--url', '--token-file', '--ca-file']

/** Runs one command line (without the program's own name) to its exit code. */
export async function runCommandLine(surroundings: Surroundings, argv: readonly string[]): Promise<ExitCode> {
  const { terminal } = surroundings
  let root: Command | undefined
  try {
    const word = firstWord(argv)
    root = await buildProgram(surroundings, word === undefined ? 'none' : word)
    if (argv.length === 0) {
      terminal.out(root.helpInformation())
      return exitCodes.ok
    }
    await root.parseAsync([...argv], { from: 'user' })
    return exitCodes.ok
  } catch (thrown) {
    const isJson = beforeDashes(argv).includes('--json')
    if (!(thrown instanceof CommanderError)) return reportError(terminal, thrown, isJson)
    if (thrown.exitCode === 0) return exitCodes.ok
    // A noun without a verb: its help was written already.
    if (thrown.code === 'commander.help') return exitCodes.usage
    return reportError(terminal, usageError(thrown, root, argv), isJson)
  }
}

function usageError(thrown: CommanderError, root: Command | undefined, argv: readonly string[]): HoldfastError {
  const [first = '', ...more] = thrown.message.replace(/^error: /, '').split('\n')
  const path = root === undefined ? 'holdfast' : commandPath(root, argv)
  return new HoldfastError('invalid-request', [first, ...more].join(' '), {
    mend: `\`${path} --help\` shows how it is written.`,
  })
}

/** `holdfast vm list`: the command that a command line reaches, as far as it exists. */
function commandPath(root: Command, argv: readonly string[]): string {
  let at = root
  const path = ['holdfast']
  for (const word of beforeDashes(argv)) {
    const next = at.commands.find((command) => command.name() === word || command.aliases().includes(word))
    if (next === undefined) continue
    path.push(next.name())
    at = next
  }
  return path.join(' ')
}

function beforeDashes(argv: readonly string[]): readonly string[] {
  const at = argv.indexOf('--')
  return at < 0 ? argv : argv.slice(0, at)
}

/** The first word that is neither a flag nor the value of one. */
function firstWord(argv: readonly string[]): string | undefined {
  const words = beforeDashes(argv)
  for (let at = 0; at < words.length; at += 1) {
    const word = words[at] ?? ''
    if (valueFlags.includes(word)) at += 1
    else if (word === 'help') return words[at + 1]
    else if (!word.startsWith('-')) return word
  }
  return undefined
}

/**
 * The program with one noun loaded (the others are there by name and summary), with `all` of them (for completion and the
 * reference), or with `none`.
 */
export async function buildProgram(surroundings: Surroundings, load: string): Promise<Command> {
  const root = newRoot(surroundings)
  const cli = makeCli(surroundings, root)
  for (const noun of nouns) {
    const command = root.command(noun.name).description(noun.summary)
    command.helpGroup(noun.group)
    command.helpCommand(false)
    if (load === 'all' || load === noun.name) await defineNoun(noun, command, cli)
  }
  if (load === namesWord) (await import('./nouns/names.ts')).define(root.command(namesWord, { hidden: true }), cli)
  return root
}

/** A hidden word that completion scripts call for the names of objects. */
export const namesWord = '__names'

async function defineNoun(noun: Noun, command: Command, cli: Cli): Promise<void> {
  const { define } = await noun.load()
  define(command, cli)
  inherit(command)
}

/** Verbs that were built elsewhere (the lab's) behave as those that were built here. */
function inherit(command: Command): void {
  for (const verb of command.commands) {
    verb.copyInheritedSettings(command)
    verb.helpCommand(false)
    inherit(verb)
  }
}

function newRoot({ terminal, version }: Surroundings): Command {
  const width = Math.min(100, terminal.isOutTty ? terminal.columns() : 100)
  const root = new Command('holdfast')
  root
    .description('Holdfast: virtual machines that live, move and survive on a pool of Linux machines.')
    .configureOutput({
      writeOut: (text) => terminal.out(text),
      writeErr: (text) => terminal.err(text),
      outputError: () => undefined,
      getOutHelpWidth: () => width,
      getErrHelpWidth: () => width,
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    })
    .configureHelp({ showGlobalOptions: true, sortOptions: false, groupItems: ownOptionsFirst })
    .exitOverride()
    .helpOption('-h, --help', 'show help')
    .addHelpCommand(new Command('help').argument('[command]').description('show help').helpGroup('This machine:'))
    .version(version, '-V, --version', 'show the version of this program')
    .option('--json', 'answer in JSON; errors are problem documents on standard error')
    .option('--url <url>', 'address of the manager')
    .option('--token-file <file>', 'file with the API token')
    .option('--ca-file <file>', "file with the manager's certificate authority")
    .addHelpText('after', exitCodeHelp())
  return root
}

/** A command's own options come before those of the task that it starts. */
function ownOptionsFirst<T extends Command | Option>(
  this: Help,
  all: T[],
  visible: T[],
  groupOf: (item: T) => string,
): Map<string, T[]> {
  const groups = new Help().groupItems(all, visible, groupOf)
  const ofTask = groups.get(taskOptionGroup)
  groups.delete(taskOptionGroup)
  if (ofTask !== undefined) groups.set(taskOptionGroup, ofTask)
  return groups
}

function exitCodeHelp(): string {
  const lines = exitCodeMeanings.map(([code, meaning]) => `  ${`${code}`.padStart(3)}  ${meaning}`)
  return `\nExit codes:\n${lines.join('\n')}`
}

function makeCli(surroundings: Surroundings, root: Command): Cli {
  let opened: ReturnType<Cli['session']> | undefined
  const cli: Cli = {
    ...surroundings,
    get flags() {
      return flagsOf(root)
    },
    session: () => (opened ??= surroundings.openSession(cli)),
    wholeProgram: () => buildProgram(surroundings, 'all'),
  }
  return cli
}

function flagsOf(root: Command): GlobalFlags {
  const { json, url, tokenFile, caFile } = root.opts<{
    json?: true
    url?: string
    tokenFile?: string
    caFile?: string
  }>()
  return { json: json === true, url, tokenFile, caFile }
}
