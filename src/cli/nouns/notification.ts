/** `holdfast notification …` */
import type { Command } from 'commander'
import { alarmSeverities, type AlarmSeverity } from '../../contracts/alarms.ts'
import { mailSecurities, type MailSecurity, type NotificationTarget } from '../../contracts/notifications.ts'
import type { Cli } from '../cli.ts'
import { resolveId, resolveObject } from '../connection/resolve.ts'
import { Exit, exitCodes } from '../exit-codes.ts'
import { choice, confirm, countOption, given, readFileOption, readSecretOption, yesOption } from '../options.ts'
import { writeDone, writeFacts, writeJson, writeList } from '../output/show.ts'
import type { Column } from '../output/table.ts'
import { durationWords, orDash } from '../output/words.ts'
import { plainText } from '../terminal.ts'

const columns: readonly Column<NotificationTarget>[] = [
  { title: 'NAME', value: (target) => target.name, shrinkTo: 12 },
  { title: 'KIND', value: (target) => target.kind },
  { title: 'FROM SEVERITY', value: (target) => target.leastSeverity },
  { title: 'CLEARING', value: (target) => (target.tellsClearing ? 'yes' : 'no') },
  { title: 'TO', value: placeOf, shrinkTo: 16 },
  { title: 'OWED', value: (target) => `${target.owed}`, align: 'right' },
  { title: 'PROBLEM', value: (target) => orDash(target.problem), shrinkTo: 12 },
  { title: 'ID', value: (target) => target.id },
]

function placeOf({ webhook, email }: NotificationTarget): string {
  if (webhook !== null) return `${webhook.origin}/…${webhook.isSigned ? ' (signed)' : ''}`
  return email === null ? '-' : `${email.to.join(', ')} by ${email.host}:${email.port} (${email.security})`
}

function factsOf(target: NotificationTarget): (readonly [string, string | undefined])[] {
  const { email, webhook } = target
  const isSecret = webhook?.isSigned === true || email?.hasPassword === true
  return [
    ['name', target.name],
    ['id', target.id],
    ['kind', target.kind],
    ['to', placeOf(target)],
    ['from', email?.from],
    ['user', email?.user ?? undefined],
    ['secret', isSecret ? 'kept, and never shown' : 'none'],
    [
      'told',
      `of alarms that are ${target.leastSeverity} or worse${target.tellsClearing ? ', and when they are over' : ''}`,
    ],
    ['owed', `${target.owed}`],
    ['problem', target.problem ?? undefined],
  ]
}

export function define(command: Command, cli: Cli): void {
  command
    .command('list')
    .alias('ls')
    .description('list who is told of alarms (never their secrets)')
    .action(async () => {
      const session = await cli.session()
      const targets = await session.list('listNotificationTargets')
      writeList(cli, targets, columns, 'Nobody is told of alarms. `holdfast notification add-webhook` adds somebody.')
    })
  command
    .command('show')
    .description('show who is told, and why it was not')
    .argument('<target>', 'name or id')
    .action(async (word: string) => {
      const session = await cli.session()
      const target = await resolveId(session, 'target', word)
      const found = await session.client.call('getNotificationTarget', { params: { target } })
      writeFacts(cli, found, factsOf(found))
    })
  defineWebhook(command, cli)
  defineEmail(command, cli)
  const remove = command.command('remove').description('tell it nothing any more; what it is owed is forgotten')
  yesOption(remove.argument('<target>', 'name or id')).action(async (word: string, options: { yes?: boolean }) => {
    const session = await cli.session()
    const target = await resolveObject(session, 'target', word)
    await confirm(cli, options.yes, `Tell ${target.name} (${target.id}) nothing any more?`)
    await session.change('removeNotificationTarget', { params: { target: target.id } })
    writeDone(cli, { id: target.id, name: target.name }, `${target.name} is told nothing any more`)
  })
  defineTest(command, cli)
}

interface CommonFlags {
  readonly severity?: AlarmSeverity
  readonly clearing: boolean
  readonly serverCa?: string
}

function commonOptions(command: Command): Command {
  return command
    .addOption(choice('--severity <severity>', 'told of alarms this bad or worse (default: warning)', alarmSeverities))
    .option('--no-clearing', 'it is not told that an alarm is over')
    .option('--server-ca <file>', 'the only authority that its certificate may come from, PEM')
}

/** What `read` makes of the file, where one is given. */
async function ifGiven(
  cli: Cli,
  file: string | undefined,
  read: (cli: Cli, path: string) => Promise<string>,
): Promise<string | undefined> {
  return file === undefined ? undefined : read(cli, file)
}

function defineWebhook(command: Command, cli: Cli): void {
  const add = command
    .command('add-webhook')
    .description('have alarms posted to an address, as JSON')
    .argument('<name>', 'what it is called')
    .argument('<url>', 'https://…; it is kept encrypted, as many bear a secret, and not shown again')
  commonOptions(add)
    .option('--secret-file <file>', 'a secret to sign messages with (HMAC-SHA256)')
    .action(async (name: string, url: string, options: CommonFlags & { secretFile?: string }) => {
      const session = await cli.session()
      const secret = await ifGiven(cli, options.secretFile, readSecretOption)
      const webhook = given({ url, secret, ca: await ifGiven(cli, options.serverCa, readFileOption) })
      const body = given({ name, leastSeverity: options.severity, tellsClearing: options.clearing, webhook })
      const target = await session.change('createNotificationTarget', { body })
      writeDone(cli, target, added(target))
    })
}

interface EmailFlags extends CommonFlags {
  readonly from: string
  readonly to: string[]
  readonly server: string
  readonly port?: number
  readonly security?: MailSecurity
  readonly user?: string
  readonly passwordFile?: string
}

function defineEmail(command: Command, cli: Cli): void {
  const add = command
    .command('add-email')
    .description('have alarms sent by e-mail')
    .argument('<name>', 'what it is called')
    .requiredOption('--server <host>', 'the mail server')
    .requiredOption('--from <address>', 'the sender')
    .requiredOption('--to <address...>', 'the recipients')
    .option('--port <port>', 'default: 587, with tls 465, with none 25', countOption)
    .addOption(choice('--security <kind>', 'of the connection (default: starttls)', mailSecurities))
    .option('--user <user>', 'whom to sign in as')
    .option('--password-file <file>', 'with --user: a file with the password')
  commonOptions(add).action(async (name: string, options: EmailFlags) => {
    const session = await cli.session()
    const { server: host, port, security, user, from, to, severity, clearing } = options
    const password = await ifGiven(cli, options.passwordFile, readSecretOption)
    const email = given({
      host,
      port,
      security,
      user,
      password,
      ca: await ifGiven(cli, options.serverCa, readFileOption),
      from,
      to,
    })
    const body = given({ name, leastSeverity: severity, tellsClearing: clearing, email })
    const target = await session.change('createNotificationTarget', { body })
    writeDone(cli, target, added(target))
  })
}

function added({ name, id }: NotificationTarget): string {
  return `${name} (${id}) is told of alarms; \`holdfast notification test ${name}\` tries it`
}

function defineTest(command: Command, cli: Cli): void {
  command
    .command('test')
    .description('send a test message now, and say what the other side answered')
    .argument('<target>', 'name or id')
    .action(async (word: string) => {
      const session = await cli.session()
      const target = await resolveId(session, 'target', word)
      const { isDelivered, answer, milliseconds } = await session.change('testNotificationTarget', {
        params: { target },
        body: {},
      })
      if (cli.flags.json) writeJson(cli, { isDelivered, answer, milliseconds })
      else {
        const after = durationWords(milliseconds)
        const line = isDelivered ? `It took the message after ${after}: ${answer}` : `It was not told: ${answer}`
        if (isDelivered) cli.terminal.out(`${plainText(line)}\n`)
        else cli.terminal.err(`${plainText(line)}\n`)
      }
      if (!isDelivered) throw new Exit(exitCodes.failed)
    })
}
