/** `holdfast completion` */
import { Argument, type Command } from 'commander'
import type { Cli } from '../cli.ts'
import { bashScript } from '../completion/bash.ts'
import { fishScript } from '../completion/fish.ts'
import { completionModel } from '../completion/model.ts'
import { zshScript } from '../completion/zsh.ts'

const scripts = { bash: bashScript, zsh: zshScript, fish: fishScript }

const completionHelp = `
  bash: echo 'source <(holdfast completion bash)' >> ~/.bashrc
  zsh:  echo 'source <(holdfast completion zsh)' >> ~/.zshrc
  fish: holdfast completion fish > ~/.config/fish/completions/holdfast.fish`

export function define(command: Command, cli: Cli): void {
  command
    .addArgument(new Argument('<shell>', 'which shell').choices(Object.keys(scripts)))
    .addHelpText('after', completionHelp)
    .action(async (shell: keyof typeof scripts) => {
      cli.terminal.out(scripts[shell](completionModel(await cli.wholeProgram())))
    })
}
