/** The reference page of the command line (docs/cli.md), made from the help of the commands themselves. */
import type { Command } from 'commander'
import { exitCodeMeanings } from './exit-codes.ts'
import { buildProgram, type Surroundings } from './program.ts'
import { loginFileName, machineClientFiles } from './connection/settings.ts'

const columns = 100

/** The page as Markdown. */
export async function referencePage(): Promise<string> {
  let written = ''
  const surroundings = silentSurroundings((text) => (written += text))
  const root = await buildProgram(surroundings, 'all')
  const helpOf = (command: Command): string => {
    written = ''
    command.outputHelp()
    return written
  }
  const sections = visibleIn(root).map((noun) => nounSection(noun, helpOf))
  return `${intro(helpOf(await buildProgram(surroundings, 'none')))}\n${sections.join('\n')}`
}

function intro(help: string): string {
  const width = Math.max(...exitCodeMeanings.map(([, meaning]) => meaning.length))
  const row = (code: string, meaning: string): string => `| ${code.padEnd(4)} | ${meaning.padEnd(width)} |`
  const codes = exitCodeMeanings.map(([code, meaning]) => row(`${code}`, meaning)).join('\n')
  const files = machineClientFiles.map(({ path, source }) => `\`${path}\` (${source})`).join(', ')
  return `# The command line

<!-- Made by dev/cli-reference.ts from the commands themselves. Do not edit: run \`node dev/cli-reference.ts\`. -->

\`\`\`text
${help.replace(/\nExit codes:[^]*$/, '').trimEnd()}
\`\`\`

## Which manager

The first of these that names an address is used, whole; a token never goes to an address that another source named.

1. \`--url\`, with \`--token-file\` and \`--ca-file\`
2. \`HOLDFAST_URL\`, with \`HOLDFAST_TOKEN\` and \`HOLDFAST_CA\` (a file, or the certificate itself)
3. what \`holdfast login\` saved in \`${loginFileName}\`
4. what a role on this machine keeps for root: ${files}

## Output

Tables and sentences are for people and may change. Programs use \`--json\`: a list is an array of objects with \`id\` and
\`name\`; \`show\` is one object, as the API has it; a command that starts a task gives the task, as it ended or, with
\`--no-wait\`, as it began; \`event list --follow\` gives one object a line. Errors are problem documents (RFC 9457) on
standard error. Objects are named by name or by id.

Ctrl-C while a task is followed asks whether to leave it, cancel it or wait on. Where nobody can be asked, it is left; with
\`--cancel-on-interrupt\` it is cancelled.

## Exit codes

${row('code', 'meaning')}
| ---- | ${'-'.repeat(width)} |
${codes}
`
}

function nounSection(noun: Command, helpOf: (command: Command) => string): string {
  const parts = [`## holdfast ${noun.name()}\n\n${fenced(helpOf(noun))}`]
  const walk = (command: Command, path: string): void => {
    for (const verb of visibleIn(command)) {
      const name = `${path} ${verb.name()}`
      parts.push(`### ${name}\n\n${fenced(helpOf(verb))}`)
      walk(verb, name)
    }
  }
  walk(noun, `holdfast ${noun.name()}`)
  return parts.join('\n')
}

/** Help without what is the same everywhere. */
function fenced(help: string): string {
  const own = help
    .replace(/\nGlobal Options:\n(?: .*\n)+/, '')
    .replace(/\n {2}-h, --help .*/, '')
    .replace(/\nOptions:\n(?=\n|$)/, '\n')
    .trimEnd()
  return `\`\`\`text\n${own.replaceAll(/\n{3,}/g, '\n\n')}\n\`\`\`\n`
}

function visibleIn(command: Command): Command[] {
  return command
    .createHelp()
    .visibleCommands(command)
    .filter((verb) => verb.name() !== 'help')
}

/** Only help is asked for, so nothing but the terminal is ever reached. */
function silentSurroundings(write: (text: string) => void): Surroundings {
  const unused = (): never => {
    throw new Error('the reference runs no command')
  }
  return {
    terminal: {
      isOutTty: false,
      isErrTty: false,
      isInTty: false,
      columns: () => columns,
      out: (data) => write(typeof data === 'string' ? data : ''),
      err: write,
      get input(): never {
        return unused()
      },
      rawInput: unused,
      ask: unused,
      onInterrupt: unused,
    },
    env: {},
    version: '',
    cwd: '/',
    ports: unused,
    openSession: unused,
  }
}
