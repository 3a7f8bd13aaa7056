/** `holdfast task …` */
import type { Command } from 'commander'
import type { Task } from '../../contracts/inventory.ts'
import type { Cli } from '../cli.ts'
import { countOption, given, waitOptions } from '../options.ts'
import { taskTitle } from '../output/progress.ts'
import { writeDone, writeFacts, writeList } from '../output/show.ts'
import type { Column } from '../output/table.ts'
import { ageWords, orDash, percentWords } from '../output/words.ts'
import { finishTask } from '../task-finish.ts'
import type { WaitFlags } from '../task-wait.ts'

export function define(command: Command, cli: Cli): void {
  defineList(command, cli)
  command
    .command('show')
    .description('show a task')
    .argument('<task>', 'id, such as task-12')
    .action(async (task: string) => {
      const session = await cli.session()
      const found = await session.client.call('getTask', { params: { task } })
      const { clock } = await cli.ports()
      writeFacts(cli, found, factsOf(found, clock.now()))
    })
  command
    .command('cancel')
    .description('cancel a task; refused past its point of no return')
    .argument('<task>', 'id, such as task-12')
    .action(async (task: string) => {
      const session = await cli.session()
      const after = await session.change('cancelTask', { params: { task }, body: {} })
      writeDone(cli, after, `${task} is being cancelled; \`holdfast task wait ${task}\` shows how it ends`)
    })
  const wait = command.command('wait').description('follow a task to its end; the exit code says how it went')
  waitOptions(wait.argument('<task>', 'id, such as task-12')).action(async (id: string, options: WaitFlags) => {
    const session = await cli.session()
    const task = await session.client.call('getTask', { params: { task: id } })
    await finishTask(cli, session, task, options, (done) => `${taskTitle(done)}: done`)
  })
}

function defineList(command: Command, cli: Cli): void {
  command
    .command('list')
    .alias('ls')
    .description('list tasks, newest first')
    .option('--state <state>', 'only those in this state: running, undoing, done, failed, cancelled, stuck')
    .option('--last <count>', 'at most this many', countOption, 50)
    .option('--all', 'every one that is still kept')
    .action(async (options: { state?: string; last: number; all?: true }) => {
      const session = await cli.session()
      const query = given({ state: options.state })
      const limit = Math.max(1, Math.min(1000, options.last))
      const tasks =
        options.all === true
          ? await session.list('listTasks', query)
          : (await session.client.call('listTasks', { query: { ...query, limit } })).items
      const { clock } = await cli.ports()
      writeList(cli, tasks, columns(clock.now()), 'There are no tasks.')
    })
}

function columns(nowMs: number): readonly Column<Task>[] {
  return [
    { title: 'ID', value: (task) => task.id },
    { title: 'TASK', value: (task) => task.name },
    { title: 'OF', value: (task) => orDash(task.target?.name), shrinkTo: 10 },
    { title: 'STATE', value: (task) => task.state },
    { title: 'DONE', value: (task) => percentWords(task.progress), align: 'right' },
    { title: 'BEGUN', value: (task) => ageWords(task.created, nowMs) },
    { title: 'BY', value: (task) => task.startedBy, shrinkTo: 8 },
    { title: 'NOTE', value: (task) => orDash(task.problem?.detail ?? task.step), shrinkTo: 10 },
  ]
}

function factsOf(task: Task, nowMs: number): (readonly [string, string | undefined])[] {
  return [
    ['id', task.id],
    ['task', taskTitle(task)],
    ['state', task.state],
    ['step', task.step ?? undefined],
    ['done', percentWords(task.progress)],
    ['cancellable', task.isCancellable ? 'yes' : 'no'],
    ['problem', task.problem === null ? undefined : `${task.problem.detail} (${task.problem.code})`],
    ['mend', task.problem?.mend],
    ['result', task.result === null ? undefined : JSON.stringify(task.result)],
    ['begun', `${ageWords(task.created, nowMs)} by ${task.startedBy}`],
    ['ended', task.ended === null ? undefined : ageWords(task.ended, nowMs)],
  ]
}
