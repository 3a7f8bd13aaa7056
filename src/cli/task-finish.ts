/** The end of every command that starts a task: wait for it (or not), and say what came of it. */
import type { Task } from '../contracts/inventory.ts'
import type { Cli } from './cli.ts'
import type { Session } from './connection/session.ts'
import { writeDone } from './output/show.ts'
import { durationWords } from './output/words.ts'
import { taskTitle } from './output/progress.ts'
import { waitForTask, type WaitFlags } from './task-wait.ts'

/**
 * Waits unless `--no-wait`, then writes the task (--json) or a sentence. `say` makes the sentence; it may ask the manager
 * for what it needs.
 */
export async function finishTask(
  cli: Cli,
  session: Session,
  task: Task,
  flags: WaitFlags,
  say: (task: Task) => string | Promise<string>,
): Promise<Task> {
  if (!flags.wait) {
    writeDone(cli, task, `${task.id}: ${taskTitle(task)} has begun. \`holdfast task wait ${task.id}\` follows it.`)
    return task
  }
  const done = await waitForTask(cli, session, task, flags)
  const sentence = cli.flags.json ? '' : `${await say(done)} (${done.id}${tookWords(done)})`
  writeDone(cli, done, sentence)
  return done
}

function tookWords(task: Task): string {
  return task.ended === null ? '' : `, ${durationWords(Date.parse(task.ended) - Date.parse(task.created))}`
}
