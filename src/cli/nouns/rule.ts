/** `holdfast rule …` */
import { Argument, type Command } from 'commander'
import { ruleKinds, ruleStrengths } from '../../contracts/restart-words.ts'
import type { CreateRule, Rule } from '../../contracts/restart.ts'
import type { Cli } from '../cli.ts'
import { resolveObject } from '../connection/resolve.ts'
import { confirm, given, yesOption } from '../options.ts'
import { writeDone, writeList } from '../output/show.ts'
import type { Column } from '../output/table.ts'
import { orDash } from '../output/words.ts'

const columns: readonly Column<Rule>[] = [
  { title: 'NAME', value: (rule) => rule.name, shrinkTo: 12 },
  { title: 'KIND', value: (rule) => `${rule.strength} ${rule.kind}` },
  { title: 'VMS', value: (rule) => namesOf(rule.vms), shrinkTo: 16 },
  { title: 'HOSTS', value: (rule) => namesOf(rule.hosts), shrinkTo: 12 },
  { title: 'NOTE', value: (rule) => orDash(rule.warnings.join('; ')), shrinkTo: 16 },
  { title: 'ID', value: (rule) => rule.id },
]

function namesOf(items: readonly { readonly name: string }[]): string {
  return orDash(items.map((item) => item.name).join(', '))
}

interface AddFlags {
  readonly vm: string[]
  readonly host?: string[]
  readonly should?: true
}

const examples = `
Examples:
  holdfast rule add db-apart apart --vm db1 db2
  holdfast rule add web-and-cache together --vm web cache --should
  holdfast rule add licensed on-hosts --vm oracle --host host1 host2`

export function define(command: Command, cli: Cli): void {
  command
    .command('list')
    .alias('ls')
    .description('list rules of placement')
    .option('--name <name>', 'only the one of this name')
    .action(async (options: { name?: string }) => {
      const session = await cli.session()
      const rules = await session.list('listRules', given({ name: options.name }))
      writeList(cli, rules, columns, 'There are no rules. `holdfast rule add NAME apart --vm A B` adds one.')
    })
  defineAdd(command, cli)
  const remove = command.command('remove').description('remove a rule')
  yesOption(remove.argument('<rule>', 'name or id')).action(async (word: string, options: { yes?: boolean }) => {
    const session = await cli.session()
    const rule = await resolveObject(session, 'rule', word)
    await confirm(cli, options.yes, `Remove the rule ${rule.name} (${rule.id})?`)
    await session.change('removeRule', { params: { rule: rule.id } })
    writeDone(cli, { id: rule.id, name: rule.name }, `${rule.name} is removed`)
  })
}

function defineAdd(command: Command, cli: Cli): void {
  command
    .command('add')
    .description(`add a rule of placement: ${ruleKinds.join(', ')}`)
    .argument('<name>', 'its name')
    .addArgument(new Argument('<kind>', 'what it says of the VMs').choices([...ruleKinds]))
    .requiredOption('--vm <vm...>', 'the VMs')
    .option('--host <host...>', 'with on-hosts and not-on-hosts: the hosts')
    .option('--should', 'preferred only; without it the rule must be kept')
    .addHelpText('after', examples)
    .action(async (name: string, kind: string, options: AddFlags) => {
      const session = await cli.session()
      const strength = options.should === true ? ruleStrengths[1] : undefined
      const body = given({ name, kind: kind as CreateRule['kind'], strength, vms: options.vm, hosts: options.host })
      const rule = await session.change('createRule', { body })
      for (const warning of rule.warnings) cli.terminal.err(`Note: ${warning}.\n`)
      writeDone(cli, rule, `${rule.name} (${rule.id}) is added`)
    })
}
