/** `holdfast vm console` and `holdfast vm screenshot` */
import type { Command } from 'commander'
import { absolutePath, type Cli } from '../cli.ts'
import { resolveId, resolveObject } from '../connection/resolve.ts'
import { secondsOption } from '../options.ts'
import { writeDone } from '../output/show.ts'

const consoleHelp = `
On a terminal every key goes to the guest; Ctrl-] ends. With a pipe, what is piped goes to the guest and what the guest
answers comes out; the command ends when the pipe has ended and the guest has been silent for --grace seconds:
  echo "uname -a" | holdfast vm console web --grace 3`

export function defineVmConsole(command: Command, cli: Cli): void {
  command
    .command('console')
    .description('the serial line of a VM in this terminal; Ctrl-] ends')
    .argument('<vm>', 'name or id')
    .option('--timeout <seconds>', 'end after this long', secondsOption)
    .option('--grace <seconds>', 'with a pipe: the silence after its end that ends the command', secondsOption, 2)
    .addHelpText('after', consoleHelp)
    .action(async (word: string, options: { timeout?: number; grace: number }) => {
      const session = await cli.session()
      const vm = await resolveObject(session, 'vm', word)
      const { runConsole } = await import('../console.ts')
      await runConsole(cli.terminal, session, (await cli.ports()).clock, {
        vm: vm.id,
        name: vm.name,
        timeoutSeconds: options.timeout,
        graceSeconds: options.grace,
      })
    })
  command
    .command('screenshot')
    .description('save the screen of a VM as PNG')
    .argument('<vm>', 'name or id')
    .argument('<file>', 'where to write it; `-` for standard output')
    .action(async (word: string, file: string) => {
      const session = await cli.session()
      const vm = await resolveId(session, 'vm', word)
      const png = await session.client.call('screenshotVm', { params: { vm } })
      if (file === '-') return cli.terminal.out(png)
      const { files } = await cli.ports()
      await files.write(absolutePath(cli, file), png)
      writeDone(cli, { file, sizeBytes: png.length }, `The screen of ${word} is in ${file}`)
    })
}
