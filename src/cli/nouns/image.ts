/** `holdfast image …` */
import type { Command } from 'commander'
import { formatSize } from '../../base/units.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { Image } from '../../contracts/inventory.ts'
import { absolutePath, type Cli } from '../cli.ts'
import { resolveObject } from '../connection/resolve.ts'
import { choice, confirm, given, waitOptions, yesOption } from '../options.ts'
import { writeDone, writeList } from '../output/show.ts'
import type { Column } from '../output/table.ts'
import { ageWords } from '../output/words.ts'
import { finishTask } from '../task-finish.ts'
import type { WaitFlags } from '../task-wait.ts'

export function define(command: Command, cli: Cli): void {
  command
    .command('list')
    .alias('ls')
    .description('list images')
    .option('--name <name>', 'only the one of this name')
    .action(async (options: { name?: string }) => {
      const session = await cli.session()
      const images = await session.list('listImages', given({ name: options.name }))
      const { clock } = await cli.ports()
      writeList(
        cli,
        images,
        columns(clock.now()),
        'There are no images. `holdfast image import NAME --file FILE` adds one.',
      )
    })
  defineImport(command, cli)
  const remove = command.command('delete').alias('rm').description('delete an image; disks made from it stay')
  yesOption(remove.argument('<image>', 'name or id')).action(async (word: string, options: { yes?: boolean }) => {
    const session = await cli.session()
    const image = await resolveObject(session, 'image', word)
    await confirm(cli, options.yes, `Delete the image ${image.name} (${image.id})?`)
    await session.change('deleteImage', { params: { image: image.id } })
    writeDone(cli, { id: image.id, name: image.name }, `${image.name} is deleted`)
  })
}

function columns(nowMs: number): readonly Column<Image>[] {
  return [
    { title: 'NAME', value: (image) => image.name, shrinkTo: 12 },
    { title: 'FORMAT', value: (image) => image.format },
    { title: 'SIZE', value: (image) => formatSize(image.virtualBytes), align: 'right' },
    { title: 'FILE', value: (image) => formatSize(image.fileBytes), align: 'right' },
    { title: 'STATE', value: (image) => image.state },
    { title: 'ADDED', value: (image) => ageWords(image.created, nowMs) },
    { title: 'SHA256', value: (image) => image.sha256.slice(0, 12) },
    { title: 'ID', value: (image) => image.id },
  ]
}

interface ImportFlags extends WaitFlags {
  readonly file?: string
  readonly path?: string
  readonly host?: string
  readonly datastore?: string
  readonly format?: 'raw' | 'qcow2' | 'vmdk'
  readonly sha256?: string
}

const importHelp = `
An upload that breaks off goes on by itself; one that was interrupted goes on where it was when the same command is given
again.`

function defineImport(command: Command, cli: Cli): void {
  const add = command.command('import').description('add an image (raw, qcow2 or vmdk) from a file here or on a host')
  waitOptions(add.argument('<name>', 'its name'))
    .option('--file <file>', 'a file on this machine, uploaded through the API')
    .option('--path <path>', 'a file on the host, in a folder that its agent allows')
    .option('--host <host>', 'with --path: the host that reads it')
    .option('--datastore <datastore>', 'where it goes; without it the manager chooses')
    .addOption(choice('--format <format>', 'refuse it when it is not of this format', ['raw', 'qcow2', 'vmdk']))
    .option(
      '--sha256 <digest>',
      'refuse it when its SHA-256 is another (with --file it is always checked)',
      digestOption,
    )
    .addHelpText('after', importHelp)
    .action((name: string, options: ImportFlags) => importImage(cli, name, options))
}

function digestOption(text: string): string {
  if (/^[0-9a-f]{64}$/i.test(text)) return text.toLowerCase()
  throw new HoldfastError('invalid-request', '--sha256 is 64 hexadecimal digits')
}

async function importImage(cli: Cli, name: string, options: ImportFlags): Promise<void> {
  const { file, path, host, datastore, format } = options
  if ((file === undefined) === (path === undefined)) {
    throw new HoldfastError('invalid-request', 'Give --file (a file here) or --path (a file on a host), one of the two')
  }
  const session = await cli.session()
  const asked = { name, format }
  if (file === undefined) {
    const task = await session.change('importImage', {
      body: given({ ...asked, datastore, path, host, sha256: options.sha256 }),
    })
    await finishTask(cli, session, task, options, () => `${name} is imported`)
    return
  }
  // The upload already lies on the datastore.
  const { uploadFile } = await import('../upload.ts')
  const upload = await uploadFile(cli, session, { path: absolutePath(cli, file), datastore, sha256: options.sha256 })
  const body = given({ ...asked, upload: upload.id, sha256: upload.sha256 })
  const task = await session.change('importImage', { body })
  await upload.forget()
  await finishTask(cli, session, task, options, () => `${name} is imported`)
}
