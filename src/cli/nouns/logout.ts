/** `holdfast logout` */
import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { loginFile } from '../connection/settings.ts'
import { writeDone } from '../output/show.ts'

export function define(command: Command, cli: Cli): void {
  command.action(async () => {
    const { files } = await cli.ports()
    await files.remove(loginFile(cli.env))
    writeDone(cli, {}, 'What `holdfast login` saved is gone. The token itself works until `holdfast token revoke`.')
  })
}
