/** `holdfast vm evidence`, and the options and words of VM monitoring. */
import type { Command } from 'commander'
import { formatSize } from '../../base/units.ts'
import type { Vm } from '../../contracts/inventory.ts'
import type { Evidence, EvidencePart, MonitoringWish } from '../../contracts/monitoring.ts'
import { absolutePath, type Cli } from '../cli.ts'
import { resolveId } from '../connection/resolve.ts'
import { choice, countOption, given, secondsOption } from '../options.ts'
import { writeDone, writeJson, writeList } from '../output/show.ts'
import type { Column } from '../output/table.ts'
import { ageWords, durationWords, orDash } from '../output/words.ts'

const [minute, hour] = [60_000, 3_600_000]

/** What one word stands for: whether hangs count, and how soon. */
const presets = {
  off: { reset: 'off' },
  panic: { reset: 'on-panic' },
  low: preset(2 * minute, 8 * minute, 7 * 24 * hour),
  medium: preset(minute, 4 * minute, 24 * hour),
  high: preset(minute / 2, 2 * minute, hour),
} as const satisfies Record<string, MonitoringWish>

function preset(hangAfterMs: number, startupGraceMs: number, windowMs: number) {
  return { reset: 'on-panic-or-hang', hangAfterMs, startupGraceMs, maxResets: 3, windowMs } as const
}

export interface MonitoringFlags {
  readonly monitoring?: keyof typeof presets
  readonly hangAfter?: number
  readonly startupGrace?: number
  readonly maxResets?: number
  readonly resetWindow?: number
}

/** Adds the options to `vm create` and `vm change`. */
export function monitoringOptions(command: Command): Command {
  return command
    .addOption(choice('--monitoring <how>', 'reset a guest that panics, or hangs: so soon', Object.keys(presets)))
    .option('--hang-after <time>', 'it hangs when it gave no sign of life for so long', secondsOption)
    .option('--startup-grace <time>', 'after a start or a reset nothing counts as a hang for so long', secondsOption)
    .option('--max-resets <count>', 'reset it so often at the most …', countOption)
    .option('--reset-window <time>', '… within this time', secondsOption)
}

/** The part of a request that they stand for; undefined where none is given. */
export function monitoringWish(flags: MonitoringFlags): MonitoringWish | undefined {
  const ms = (seconds: number | undefined): number | undefined =>
    seconds === undefined ? undefined : Math.round(seconds * 1000)
  const wish = {
    ...(flags.monitoring === undefined ? {} : presets[flags.monitoring]),
    ...given({
      hangAfterMs: ms(flags.hangAfter),
      startupGraceMs: ms(flags.startupGrace),
      maxResets: flags.maxResets,
      windowMs: ms(flags.resetWindow),
    }),
  }
  return Object.keys(wish).length === 0 ? undefined : wish
}

const resetWords = { off: 'off', 'on-panic': 'after a panic', 'on-panic-or-hang': 'after a panic or a hang' } as const

/** For `vm show`. */
export function monitoringWords({ policies: { monitoring }, guest }: Vm): string | undefined {
  if (monitoring === undefined || monitoring.reset === 'off') return undefined
  const often = `at most ${monitoring.maxResets} times in ${durationWords(monitoring.windowMs)}`
  const hang = monitoring.reset === 'on-panic' ? '' : ` of ${durationWords(monitoring.hangAfterMs)}`
  const seen = guest == null ? '' : `; ${guestWords(guest)}`
  return `reset ${resetWords[monitoring.reset]}${hang}, ${often}${seen}`
}

function guestWords({ isPanicked, agent, silentMs }: NonNullable<Vm['guest']>): string {
  if (isPanicked) return 'the guest has panicked'
  if (agent === 'never') return 'no agent in the guest has answered since it began'
  return agent === 'answering' ? 'its agent answers' : `its agent is silent for ${durationWords(silentMs)}`
}

export function defineVmEvidence(command: Command, cli: Cli): void {
  command
    .command('evidence')
    .description('what was seen of the guest just before it was reset because it hung or had panicked')
    .argument('<vm>', 'name or id')
    .option('--save <folder>', 'write screens and serial logs into this folder')
    .action(async (word: string, options: { save?: string }) => {
      const session = await cli.session()
      const vm = await resolveId(session, 'vm', word)
      const query = { content: options.save !== undefined }
      const { items } = await session.client.call('listEvidence', { params: { vm }, query })
      if (options.save !== undefined) return save(cli, items, absolutePath(cli, options.save), word)
      const { clock } = await cli.ports()
      writeList(cli, items, columns(clock.now()), `The guest of ${word} was never reset by its monitoring.`)
    })
}

function columns(now: number): readonly Column<Evidence>[] {
  return [
    { title: 'RESET', value: ({ at }) => ageWords(at, now) },
    { title: 'WHY', value: ({ why }) => why },
    { title: 'SCREEN', value: ({ screen }) => sizeWords(screen) },
    { title: 'SERIAL', value: ({ serial }) => sizeWords(serial) },
    { title: 'TASK', value: ({ task }) => task },
    {
      title: 'SEEN',
      value: ({ detail, missing }) => (missing === null ? detail : `${detail} (${missing})`),
      shrinkTo: 20,
    },
  ]
}

function sizeWords(part: EvidencePart | null): string {
  return orDash(part === null ? null : formatSize(part.sizeBytes))
}

async function save(cli: Cli, items: readonly Evidence[], folder: string, word: string): Promise<void> {
  const { files } = await cli.ports()
  await files.makeDirectory(folder)
  const saved: string[] = []
  for (const { task, why, screen, serial } of items) {
    for (const [part, ending] of [
      [screen, 'png'],
      [serial, 'txt'],
    ] as const) {
      if (part?.base64 === undefined) continue
      const path = `${folder}/${task}-${why}.${ending}`
      await files.write(path, Buffer.from(part.base64, 'base64'))
      saved.push(path)
    }
  }
  if (cli.flags.json) return writeJson(cli, saved)
  const sentence = saved.length === 0 ? `There is no evidence of ${word}` : `In ${folder}: ${saved.length} files`
  writeDone(cli, saved, sentence)
}
