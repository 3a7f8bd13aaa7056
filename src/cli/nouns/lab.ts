/** `holdfast lab …`: the verbs are the lab's own. */
import type { Command } from 'commander'
import { labCommand } from '../../lab/main.ts'

export function define(command: Command): void {
  for (const verb of labCommand().commands) command.addCommand(verb, { hidden: isHidden(verb) })
}

/** Programs that the lab starts itself are no words for people. */
function isHidden(verb: Command): boolean {
  return verb.name() === 'internal'
}
