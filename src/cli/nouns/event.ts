/** `holdfast event …` */
import type { Command } from 'commander'
import { eventPlace } from '../../contracts/client.ts'
import type { Event } from '../../contracts/inventory.ts'
import type { Cli } from '../cli.ts'
import { countOption, given } from '../options.ts'
import { writeList } from '../output/show.ts'
import { plainText } from '../terminal.ts'

interface ListFlags {
  readonly follow?: true
  readonly after?: string
  readonly last?: number
}

const followHelp = `
With --follow and --json each event is one line of JSON. The stream goes on across broken connections and restarts of the
manager, without a gap or a repetition; --after REVISION.SEQUENCE goes on from an event seen before (its "id").`

export function define(command: Command, cli: Cli): void {
  command
    .command('list')
    .alias('ls')
    .description('past events, oldest first; with --follow the new ones as they happen')
    .option('-f, --follow', 'go on with new events until Ctrl-C')
    .option('--after <place>', 'only those after this revision, or REVISION.SEQUENCE')
    .option('--last <count>', 'only the last so many', countOption)
    .addHelpText('after', followHelp)
    .action((options: ListFlags) => listEvents(cli, options))
}

async function listEvents(cli: Cli, options: ListFlags): Promise<void> {
  const session = await cli.session()
  const isFollowing = options.follow === true
  let place = options.after
  // A stream that is only followed begins now; else the past comes first, and the stream goes on where it ends.
  if (!isFollowing || options.last !== undefined) {
    const past = await pastEvents(cli, options)
    const shown = options.last === undefined ? past : past.slice(-options.last)
    if (isFollowing) shown.forEach((event) => writeEvent(cli, event))
    else writePast(cli, shown)
    const newest = past.at(-1)
    if (newest !== undefined) place = eventPlace(newest)
  }
  if (!isFollowing) return
  const { followEvents } = await import('../follow-events.ts')
  await followEvents(cli, session, place, (event) => writeEvent(cli, event))
}

async function pastEvents(cli: Cli, options: ListFlags): Promise<Event[]> {
  const session = await cli.session()
  const [revision, sequence] = (options.after ?? '').split('.')
  const afterRevision = revision === undefined || revision === '' ? undefined : countOption(revision)
  // The list knows revisions alone: ask from the one before, and drop what was seen of it.
  const from = afterRevision === undefined || sequence === undefined ? afterRevision : Math.max(0, afterRevision - 1)
  const events = await session.list('listEvents', given({ afterRevision: from }))
  if (sequence === undefined) return events
  return events.filter((event) => event.revision !== afterRevision || event.sequence > Number(sequence))
}

/** Programs get `id` and `name` here as in every list. */
function named(event: Event): Event & { id: string; name: string } {
  return { id: eventPlace(event), name: event.type, ...event }
}

function writeEvent(cli: Cli, event: Event): void {
  cli.terminal.out(cli.flags.json ? `${JSON.stringify(named(event))}\n` : `${eventLine(event)}\n`)
}

function writePast(cli: Cli, events: readonly Event[]): void {
  if (cli.flags.json) return writeList(cli, events.map(named), [], '')
  if (events.length === 0) return cli.terminal.err('There are no events.\n')
  events.forEach((event) => writeEvent(cli, event))
}

/** Events are lines and no table, so that following them looks like listing them. */
function eventLine(event: Event): string {
  const time = event.time.replace('T', ' ').replace(/\.\d+Z$/, 'Z')
  return plainText(`${time}  ${event.type.padEnd(22)}  ${event.message}`)
}
