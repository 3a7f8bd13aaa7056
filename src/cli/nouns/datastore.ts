/** `holdfast datastore …` */
import type { Command } from 'commander'
import type { Datastore } from '../../contracts/inventory.ts'
import type { Cli } from '../cli.ts'
import { resolveObject } from '../connection/resolve.ts'
import { confirm, given, yesOption } from '../options.ts'
import { writeDone, writeList } from '../output/show.ts'
import type { Column } from '../output/table.ts'
import { sizeOrDash } from '../output/words.ts'

const columns: readonly Column<Datastore>[] = [
  { title: 'NAME', value: (store) => store.name, shrinkTo: 12 },
  { title: 'SHARED', value: (store) => (store.isShared ? 'yes' : 'no') },
  { title: 'FREE', value: (store) => sizeOrDash(store.freeBytes), align: 'right' },
  { title: 'TOTAL', value: (store) => sizeOrDash(store.totalBytes), align: 'right' },
  { title: 'STATE', value: (store) => (store.isUsable ? 'usable' : (store.problem ?? 'unusable')), shrinkTo: 10 },
  { title: 'HOSTS', value: (store) => store.mounts.map((mount) => mount.hostName).join(', '), shrinkTo: 10 },
  { title: 'ID', value: (store) => store.id },
]

export function define(command: Command, cli: Cli): void {
  command
    .command('list')
    .alias('ls')
    .description('list datastores')
    .option('--name <name>', 'only the one of this name')
    .action(async (options: { name?: string }) => {
      const session = await cli.session()
      const stores = await session.list('listDatastores', given({ name: options.name }))
      writeList(
        cli,
        stores,
        columns,
        'There are no datastores. `holdfast datastore create NAME --path FOLDER` adds one.',
      )
    })
  defineCreate(command, cli)
  const remove = command.command('remove').description('forget an empty datastore; its folder stays')
  yesOption(remove.argument('<datastore>', 'name or id')).action(async (word: string, options: { yes?: boolean }) => {
    const session = await cli.session()
    const store = await resolveObject(session, 'datastore', word)
    await confirm(cli, options.yes, `Forget the datastore ${store.name} (${store.id})?`)
    await session.change('removeDatastore', { params: { datastore: store.id } })
    writeDone(cli, { id: store.id, name: store.name }, `${store.name} is forgotten`)
  })
}

function defineCreate(command: Command, cli: Cli): void {
  command
    .command('create')
    .description('add a datastore: a folder on one or several hosts')
    .argument('<name>', 'its name')
    .requiredOption('--path <folder>', 'the folder, the same on each of the hosts')
    .option('--host <host...>', 'the host that has it; with --shared several, or without this all of them')
    .option('--shared', 'it is the same storage on all of them (NFS, CephFS)')
    .action(async (name: string, options: { path: string; host?: string[]; shared?: true }) => {
      const session = await cli.session()
      const body = given({ name, path: options.path, hosts: options.host, isShared: options.shared })
      const store = await session.change('createDatastore', { body })
      writeDone(cli, store, `${store.name} (${store.id}) is added`)
    })
}
