/** `holdfast manager …`: the verbs of the manager on this machine are its own; the others ask whichever manager answers. */
import type { Command } from 'commander'
import type { Manager } from '../../contracts/inventory.ts'
import { managerCommand } from '../../server/command.ts'
import type { Cli } from '../cli.ts'
import { resolveObject } from '../connection/resolve.ts'
import { confirm, countOption, given, yesOption } from '../options.ts'
import { writeDone, writeJson, writeList } from '../output/show.ts'
import type { Column } from '../output/table.ts'
import { ageWords } from '../output/words.ts'

export function define(command: Command, cli: Cli): void {
  for (const verb of managerCommand().commands) command.addCommand(verb)
  command
    .command('list')
    .alias('ls')
    .description('the managers of the cluster, and which of them leads')
    .action(async () => {
      const session = await cli.session()
      const managers = await session.list('listManagers')
      const { clock } = await cli.ports()
      writeList(cli, managers, columns(clock.now()), 'No manager has told of itself yet.')
    })
  command
    .command('join-token')
    .description("a one-time token for `holdfast manager join`: it opens the key of the cluster's authority")
    .option('--valid-minutes <minutes>', 'how long it works (default 15, at most 60)', countOption)
    .action(async (options: { validMinutes?: number }) => {
      const session = await cli.session()
      const body = given({ validMinutes: options.validMinutes })
      const made = await session.change('createManagerToken', { body })
      if (cli.flags.json) return writeJson(cli, made)
      cli.terminal.err(`On the new manager: sudo holdfast manager join ${session.settings.url} --token TOKEN\n`)
      cli.terminal.out(`${made.token}\n`)
    })
  const remove = command.command('remove').description('forget a manager that is gone')
  yesOption(remove.argument('<manager>', 'name or id')).action(async (word: string, options: { yes?: boolean }) => {
    const session = await cli.session()
    const manager = await resolveObject(session, 'manager', word)
    await confirm(cli, options.yes, `Forget the manager ${manager.name} (${manager.id})?`)
    await session.change('removeManager', { params: { manager: manager.id } })
    writeDone(cli, { id: manager.id, name: manager.name }, `${manager.name} is forgotten`)
  })
}

function columns(nowMs: number): readonly Column<Manager>[] {
  return [
    { title: 'NAME', value: (manager) => manager.name, shrinkTo: 12 },
    { title: 'STATE', value: (manager) => manager.state },
    { title: 'LEADS SINCE', value: (manager) => ageWords(manager.leadsSince, nowMs) },
    { title: 'SEEN', value: (manager) => ageWords(manager.lastSeen, nowMs) },
    { title: 'VERSION', value: (manager) => manager.version },
    { title: 'ADDRESS', value: (manager) => manager.urls.join(' '), shrinkTo: 15 },
    { title: 'ID', value: (manager) => manager.id },
  ]
}
