/** `holdfast alarm …` */
import type { Command } from 'commander'
import { alarmSeverities, type Alarm, type AlarmSettings, type ChangeAlarmSettings } from '../../contracts/alarms.ts'
import type { Cli } from '../cli.ts'
import { resolveId } from '../connection/resolve.ts'
import type { Session } from '../connection/session.ts'
import { choice, countOption, given } from '../options.ts'
import { writeDone, writeFacts, writeList } from '../output/show.ts'
import type { Column } from '../output/table.ts'
import { ageWords } from '../output/words.ts'

export function define(command: Command, cli: Cli): void {
  defineList(command, cli)
  command
    .command('show')
    .description('show an alarm, and what to do about it')
    .argument('<alarm>', 'id, such as alarm-7')
    .action(async (alarm: string) => {
      const session = await cli.session()
      const found = await session.client.call('getAlarm', { params: { alarm } })
      const { clock } = await cli.ports()
      writeFacts(cli, found, factsOf(found, clock.now()))
    })
  command
    .command('acknowledge')
    .alias('ack')
    .description('say that you take care of it')
    .argument('<alarm>', 'id, such as alarm-7')
    .action(async (alarm: string) => {
      const session = await cli.session()
      const after = await session.change('acknowledgeAlarm', { params: { alarm }, body: {} })
      writeDone(cli, after, `${after.id} (${after.type} of ${after.subject.name}) is acknowledged`)
    })
  command
    .command('clear')
    .description('clear an alarm; while its condition lasts it is not raised again for a day')
    .argument('<alarm>', 'id, such as alarm-7')
    .action(async (alarm: string) => {
      const session = await cli.session()
      const after = await session.change('clearAlarm', { params: { alarm }, body: {} })
      writeDone(cli, after, `${after.id} (${after.type} of ${after.subject.name}) is cleared`)
    })
  defineSettings(command, cli)
}

interface ListFlags {
  readonly state?: string
  readonly all?: true
  readonly severity?: Alarm['severity']
  readonly host?: string
  readonly vm?: string
  readonly datastore?: string
}

function defineList(command: Command, cli: Cli): void {
  command
    .command('list')
    .alias('ls')
    .description('list the open alarms, newest id first')
    .option('--state <state>', 'those in this state: raised, acknowledged, cleared')
    .option('--all', 'the cleared ones that are still kept too')
    .addOption(choice('--severity <severity>', 'only those that are so bad', alarmSeverities))
    .option('--host <host>', 'only those of this host, or on it')
    .option('--vm <vm>', 'only those of this VM')
    .option('--datastore <datastore>', 'only those of this datastore')
    .action(async (options: ListFlags) => {
      const session = await cli.session()
      const state = options.all === true ? 'all' : options.state
      const subject = await subjectOf(session, options)
      const alarms = await session.list('listAlarms', given({ state, severity: options.severity, subject }))
      const { clock } = await cli.ports()
      // Programs get `id` and `name` here as in every list.
      const named = alarms.map((alarm) => ({ name: alarm.type, ...alarm }))
      writeList(cli, named, columns(clock.now()), 'There are no alarms.')
    })
}

async function subjectOf(session: Session, { host, vm, datastore }: ListFlags): Promise<string | undefined> {
  if (host !== undefined) return resolveId(session, 'host', host)
  if (vm !== undefined) return resolveId(session, 'vm', vm)
  return datastore === undefined ? undefined : resolveId(session, 'datastore', datastore)
}

function columns(nowMs: number): readonly Column<Alarm>[] {
  return [
    { title: 'ID', value: (alarm) => alarm.id },
    { title: 'SEVERITY', value: (alarm) => alarm.severity },
    { title: 'STATE', value: (alarm) => alarm.state },
    { title: 'RAISED', value: (alarm) => ageWords(alarm.raisedAt, nowMs) },
    { title: 'TIMES', value: (alarm) => `${alarm.count}`, align: 'right' },
    { title: 'TYPE', value: (alarm) => alarm.type },
    { title: 'WHAT', value: (alarm) => alarm.message, shrinkTo: 20 },
  ]
}

function factsOf(alarm: Alarm, nowMs: number): (readonly [string, string | undefined])[] {
  const { subject, place, acknowledgedAt, acknowledgedBy, clearedAt, clearedBy } = alarm
  return [
    ['id', alarm.id],
    ['type', alarm.type],
    ['severity', alarm.severity],
    ['state', alarm.state],
    ['about', `${subject.kind} ${subject.name} (${subject.id})`],
    ['on', place === null ? undefined : `${place.name} (${place.id})`],
    ['what', alarm.message],
    ['mend', alarm.mend],
    ['raised', `${ageWords(alarm.raisedAt, nowMs)}${alarm.count > 1 ? `, for the ${alarm.count}th time` : ''}`],
    [
      'acknowledged',
      acknowledgedAt === null ? undefined : `${ageWords(acknowledgedAt, nowMs)} by ${acknowledgedBy ?? 'nobody'}`,
    ],
    [
      'cleared',
      clearedAt === null
        ? undefined
        : `${ageWords(clearedAt, nowMs)}, ${clearedBy === null ? 'as it was over' : `by ${clearedBy}`}`,
    ],
  ]
}

interface SettingsFlags {
  readonly datastoreFull?: number
  readonly datastoreClear?: number
  readonly clockSkew?: number
  readonly certificateDays?: number
  readonly restartedHours?: number
  readonly disable?: string[]
  readonly enable?: string[]
  readonly defaults?: true
}

function defineSettings(command: Command, cli: Cli): void {
  command
    .command('settings')
    .description('show the thresholds; with options, change them')
    .option('--datastore-full <percent>', 'near full from this share in use on', countOption)
    .option('--datastore-clear <percent>', 'no more under this share', countOption)
    .option('--clock-skew <milliseconds>', "how far a host's clock may be off", countOption)
    .option('--certificate-days <days>', 'how long before its end a certificate is an alarm', countOption)
    .option('--restarted-hours <hours>', 'how long people are told of a restarted VM', countOption)
    .option('--disable <type...>', 'never raise alarms of these types')
    .option('--enable <type...>', 'raise them again')
    .option('--defaults', 'make all else the default')
    .action(async (options: SettingsFlags) => {
      const session = await cli.session()
      writeSettings(cli, await changed(session, options))
    })
}

async function changed(session: Session, options: SettingsFlags): Promise<AlarmSettings> {
  const body: ChangeAlarmSettings = given({
    datastoreFullPercent: options.datastoreFull,
    datastoreClearPercent: options.datastoreClear,
    clockSkewMs: options.clockSkew,
    certificateDays: options.certificateDays,
    restartedHours: options.restartedHours,
  })
  const { disable = [], enable = [] } = options
  if (disable.length + enable.length > 0) {
    const { disabledTypes } = await session.client.call('getAlarmSettings')
    const before = options.defaults === true ? [] : disabledTypes
    body.disabledTypes = [...new Set([...before, ...disable])].filter((type) => !enable.includes(type))
  }
  if (options.defaults === true) return session.change('setAlarmSettings', { body })
  if (Object.keys(body).length === 0) return session.client.call('getAlarmSettings')
  return session.change('changeAlarmSettings', { body })
}

function writeSettings(cli: Cli, settings: AlarmSettings): void {
  const { datastoreFullPercent, datastoreClearPercent, disabledTypes } = settings
  writeFacts(cli, settings, [
    ['datastore near full', `from ${datastoreFullPercent} % on, until under ${datastoreClearPercent} %`],
    ['clock skew', `over ${settings.clockSkewMs} ms`],
    ['certificate ending', `within ${settings.certificateDays} days`],
    ['restarted VMs', `for ${settings.restartedHours} hours`],
    ['never raised', disabledTypes.length === 0 ? 'none' : disabledTypes.join(', ')],
  ])
}
