/** `holdfast manager …`: the verbs are the manager's own. */
import type { Command } from 'commander'
import { managerCommand } from '../../server/command.ts'

export function define(command: Command): void {
  for (const verb of managerCommand().commands) command.addCommand(verb)
}
