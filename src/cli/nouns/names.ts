/** The hidden word that completion scripts call: the names of a kind of object, one a line; nothing where it fails. */
import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { namedKinds, type NamedKind } from '../connection/resolve.ts'

/** A person waits for the Tab key: rather no names than late ones. */
const patienceMs = 2000

export function define(command: Command, cli: Cli): void {
  command.argument('<kind>').action(async (kind: string) => {
    const names = await Promise.race([namesOf(cli, kind).catch(() => []), nothingAfter(cli)])
    cli.terminal.out(names.map((name) => `${name}\n`).join(''))
  })
}

async function namesOf(cli: Cli, kind: string): Promise<string[]> {
  const session = await cli.session()
  if (kind === 'task') {
    const page = await session.client.call('listTasks', { query: { limit: 30 } })
    return page.items.map((task) => task.id)
  }
  if (kind === 'alarm') return (await session.list('listAlarms')).map((alarm) => alarm.id)
  if (!Object.hasOwn(namedKinds, kind)) return []
  const items = (await session.list(namedKinds[kind as NamedKind].route)) as { name: string }[]
  return items.map((item) => item.name)
}

async function nothingAfter(cli: Cli): Promise<string[]> {
  const { clock } = await cli.ports()
  await clock.sleep(patienceMs)
  return []
}
