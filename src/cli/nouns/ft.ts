/** `holdfast ft …`: fault tolerance of this machine itself. Protected VMs are `holdfast vm protect`. */
import { InvalidArgumentError, type Command } from 'commander'
import { dataOption, enoughTakeovers, trackerOption } from '../../agent/command.ts'
import type { SelftestReport } from '../../agent/main.ts'
import type { TrackerKind } from '../../base/process-memory.ts'
import type { Cli } from '../cli.ts'
import { Exit, exitCodes } from '../exit-codes.ts'
import { countOption } from '../options.ts'
import { writeJson } from '../output/show.ts'
import { counted, durationWords } from '../output/words.ts'
import { plainText } from '../terminal.ts'

type Figures = SelftestReport['figures']

export function define(command: Command, cli: Cli): void {
  command
    .command('selftest')
    .description('try on this host, with its own accelerator, kernel and QEMU, that a VM is held in step (as root)')
    .option(
      '--takeovers <number>',
      `how often the guest loses its host; fewer than ${enoughTakeovers} prove nothing`,
      takeovers,
      enoughTakeovers,
    )
    .addOption(dataOption())
    .addOption(trackerOption())
    .addHelpText(
      'after',
      `
A small guest that is part of Holdfast is held in step by two QEMUs on this host, in namespaces of their own; VMs that run
here are not touched. At each epoch all of its memory is compared on both sides, and its QEMU is killed again and again.
What has passed ${enoughTakeovers} takeovers is noted in the data folder, and the agent protects VMs by KVM from then on
(within a minute), until the accelerator, QEMU, the kernel or the processor changes. It says how long it still takes.`,
    )
    .action(async (options: { takeovers: number; data: string; ftTracker?: TrackerKind }) => {
      const { selftest } = await import('../../agent/main.ts')
      const stop = new AbortController()
      using _interrupt = cli.terminal.onInterrupt(() => stop.abort(new Exit(exitCodes.interrupted)))
      const { clock } = await cli.ports()
      const view = new ProgressView(cli, options.takeovers, clock.monotonic())
      const report = await selftest(
        {
          ...{ takeovers: options.takeovers, tracker: options.ftTracker, dataDirectory: options.data },
          onBegin: (ground) => view.begin(ground),
          onProgress: (figures) => view.update(figures, clock.monotonic()),
        },
        stop.signal,
      ).finally(() => view.end())
      if (cli.flags.json) writeJson(cli, report)
      else cli.terminal.out(reportText(report, options.takeovers))
    })
}

function takeovers(text: string): number {
  const count = countOption(text)
  if (count < 1 || count > 1_000_000) throw new InvalidArgumentError('At least one, at most a million.')
  return count
}

/** On a terminal a line that draws itself anew, else one line for each tenth. */
class ProgressView {
  readonly #cli: Cli
  readonly #wanted: number
  readonly #startedMs: number
  #saidTenth = 0
  #isDrawn = false

  constructor(cli: Cli, wanted: number, startedMs: number) {
    this.#cli = cli
    this.#wanted = wanted
    this.#startedMs = startedMs
  }

  begin(ground: SelftestReport['ground']): void {
    this.#cli.terminal.err(`${plainText(groundWords(ground))}\n`)
  }

  update(figures: Figures, nowMs: number): void {
    const { terminal } = this.#cli
    const { takeovers: done, epochs, medianSilenceMs } = figures
    const leftMs = ((nowMs - this.#startedMs) / done) * (this.#wanted - done)
    const line = `${done} of ${counted(this.#wanted, 'takeover')}, ${epochs} epochs compared, silence ${medianSilenceMs} ms, ${durationWords(leftMs)} left`
    const tenth = Math.floor((done * 10) / this.#wanted)
    if (terminal.isErrTty) terminal.err(`\r\u001b[K${line.slice(0, terminal.columns() - 1)}`)
    else if (tenth > this.#saidTenth) terminal.err(`${line}\n`)
    this.#saidTenth = tenth
    this.#isDrawn = terminal.isErrTty
  }

  end(): void {
    if (this.#isDrawn) this.#cli.terminal.err('\n')
  }
}

function groundWords({ accelerator, qemu, kernel, cpu, tracker }: SelftestReport['ground']): string {
  return `${accelerator}, QEMU ${qemu}, Linux ${kernel}, ${cpu}; written pages by ${tracker}`
}

function reportText({ figures, proof }: SelftestReport, wanted: number): string {
  const { takeovers: done, epochs, ticks, lostFrames, medianSilenceMs, longestSilenceMs, pauseMs } = figures
  const lines = [
    `Passed: ${counted(done, 'takeover')} in a row, ${epochs} epochs compared, no page missed, nothing undone.`,
    `The guest sent ${ticks} frames; ${lostFrames} were lost on their way through a QEMU that was killed, none came twice.`,
    `Silence at a takeover: ${medianSilenceMs} ms in the middle, ${longestSilenceMs} ms at most. The guest stands still for`,
    `${pauseMs} ms an epoch, most of it for the comparison, which protected VMs do not have.`,
    proof === null
      ? `Nothing was noted: ${counted(wanted, 'takeover')} prove less than ${enoughTakeovers} do.`
      : `Noted in ${proof}. The agent takes it up within a minute.`,
  ]
  return lines.map((line) => `${plainText(line)}\n`).join('')
}
