/** `holdfast cluster fencing`: when lost hosts are fenced by themselves. */
import type { Command } from 'commander'
import type { Cli } from '../cli.ts'
import { choice, countOption, given, secondsOption } from '../options.ts'
import { writeFacts } from '../output/show.ts'
import { durationWords, percentWords } from '../output/words.ts'

interface Flags {
  readonly automatic?: 'on' | 'off'
  readonly after?: number
  readonly atOnce?: number
  readonly mostPercent?: number
  readonly agentTimeout?: number
}

export function defineFencingSettings(command: Command, cli: Cli): void {
  command
    .command('fencing')
    .description('show or change when lost hosts are fenced by themselves')
    .addOption(choice('--automatic <how>', 'off: only people fence', ['on', 'off']))
    .option('--after <seconds>', 'how long a host is silent before', secondsOption)
    .option('--at-once <count>', 'how many hosts at the same time', countOption)
    .option('--most-percent <percent>', 'of all hosts, within ten minutes', countOption)
    .option('--agent-timeout <seconds>', 'how long one action of a fence agent may take', secondsOption)
    .action(async (flags: Flags) => {
      const session = await cli.session()
      const milliseconds = (seconds: number | undefined) =>
        seconds === undefined ? undefined : Math.round(seconds * 1000)
      const body = given({
        automatic: flags.automatic === undefined ? undefined : flags.automatic === 'on',
        afterMs: milliseconds(flags.after),
        atOnce: flags.atOnce,
        mostShare: flags.mostPercent === undefined ? undefined : flags.mostPercent / 100,
        agentTimeoutMs: milliseconds(flags.agentTimeout),
      })
      const isChange = Object.keys(body).length > 0
      const settings = isChange
        ? await session.change('changeFencing', { body })
        : await session.client.call('getFencing')
      writeFacts(cli, settings, [
        ['automatic', settings.automatic ? 'on' : 'off: only people fence'],
        ['after', `${durationWords(settings.afterMs)} of silence`],
        ['at once', `${settings.atOnce}`],
        ['at most', `${percentWords(settings.mostShare)} of the hosts within ten minutes, and always one`],
        ['agent timeout', durationWords(settings.agentTimeoutMs)],
      ])
    })
}
