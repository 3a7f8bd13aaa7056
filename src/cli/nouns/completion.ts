/** `holdfast completion` */
import { Argument, type Command } from 'commander'
import type { Cli } from '../cli.ts'
import { bashScript } from '../completion/bash.ts'
import { fishScript } from '../completion/fish.ts'
import { completionModel } from '../completion/model.ts'
import { zshScript } from '../completion/zsh.ts'

const scripts = { bash: bashScript, zsh: zshScript, fish: fishScript }

const completionHelp = `
  bash: holdfast completion bash > ~/.local/share/bash-completion/completions/holdfast
  zsh:  holdfast completion zsh > "\${fpath[1]}/_holdfast"
  fish: holdfast completion fish > ~/.config/fish/completions/holdfast.fish
Names of VMs, hosts and the like are asked of the manager when Tab is pressed.`

export function define(command: Command, cli: Cli): void {
  command
    .addArgument(new Argument('<shell>', 'which shell').choices(Object.keys(scripts)))
    .addHelpText('after', completionHelp)
    .action(async (shell: keyof typeof scripts) => {
      cli.terminal.out(scripts[shell](completionModel(await cli.wholeProgram())))
    })
}
