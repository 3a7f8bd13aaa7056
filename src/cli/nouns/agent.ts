/** `holdfast agent …`: the verbs are the agent's own. */
import type { Command } from 'commander'
import { agentCommand } from '../../agent/command.ts'

export function define(command: Command): void {
  for (const verb of agentCommand().commands) command.addCommand(verb)
}
