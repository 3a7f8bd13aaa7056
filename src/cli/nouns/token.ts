/** `holdfast token …` */
import type { Command } from 'commander'
import type { ApiToken } from '../../contracts/inventory.ts'
import type { Cli } from '../cli.ts'
import { resolveObject } from '../connection/resolve.ts'
import { choice, confirm, countOption, given, yesOption } from '../options.ts'
import { writeJson, writeDone, writeList } from '../output/show.ts'
import type { Column } from '../output/table.ts'
import { ageWords, orDash } from '../output/words.ts'

export function define(command: Command, cli: Cli): void {
  command
    .command('list')
    .alias('ls')
    .description('list API tokens (never their secrets)')
    .action(async () => {
      const session = await cli.session()
      const tokens = await session.list('listTokens')
      const { clock } = await cli.ports()
      writeList(cli, tokens, columns(clock.now()), 'There are no tokens.')
    })
  command
    .command('create')
    .description('make an API token; its secret is shown once')
    .argument('<name>', 'what it is for')
    .addOption(choice('--role <role>', 'what it may do', ['reader', 'operator', 'administrator']).makeOptionMandatory())
    .option('--valid-days <days>', 'when it ends; without it never', countOption)
    .action(async (name: string, options: { role: ApiToken['role']; validDays?: number }) => {
      const session = await cli.session()
      const body = given({ name, role: options.role, validDays: options.validDays })
      const made = await session.change('createToken', { body })
      if (cli.flags.json) return writeJson(cli, made)
      // The secret alone on standard output, so that it can be piped into a file.
      cli.terminal.err(`${made.token.name} (${made.token.id}), ${made.token.role}. It is shown this once:\n`)
      cli.terminal.out(`${made.secret}\n`)
    })
  const revoke = command.command('revoke').description('end a token at once')
  yesOption(revoke.argument('<token>', 'name or id')).action(async (word: string, options: { yes?: boolean }) => {
    const session = await cli.session()
    const token = await resolveObject(session, 'token', word)
    await confirm(cli, options.yes, `Revoke the token ${token.name} (${token.id})?`)
    await session.change('revokeToken', { params: { token: token.id } })
    writeDone(cli, { id: token.id, name: token.name }, `${token.name} is revoked`)
  })
}

function columns(nowMs: number): readonly Column<ApiToken>[] {
  return [
    { title: 'NAME', value: (token) => token.name, shrinkTo: 12 },
    { title: 'ROLE', value: (token) => token.role },
    { title: 'MADE', value: (token) => ageWords(token.created, nowMs) },
    { title: 'LAST USED', value: (token) => ageWords(token.lastUsed, nowMs) },
    { title: 'EXPIRES', value: (token) => orDash(token.expires) },
    { title: 'ID', value: (token) => token.id },
  ]
}
