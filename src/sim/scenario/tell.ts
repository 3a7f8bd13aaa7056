/** Says for people how a scenario file went. */
import { missed, missedWithoutFaults, type PlayOutcome } from './play.ts'

export function replayFileCommand(file: string, seed: number): string {
  return `./dev/sim --file ${file} --seed ${seed}`
}

/** The log, and what was missed; whether nothing was. */
export function tellPlay(outcome: PlayOutcome, file: string): boolean {
  console.log(outcome.log.join('\n'))
  const wrong = missed(outcome)
  console.log('')
  for (const { what, problem } of outcome.verdicts) {
    console.log(problem === null ? `  as expected   ${what}` : `  MISSED        ${what}: ${problem}`)
  }
  for (const what of outcome.wrong) console.log(`  WRONG         ${what}`)
  const minutes = (outcome.virtualMs / 60_000).toFixed(1)
  const end =
    wrong.length === 0 ? 'as expected' : `FAILED, play it again with: ${replayFileCommand(file, outcome.seed)}`
  console.log(`${outcome.name}, seed ${outcome.seed}, ${minutes} virtual minutes: ${end}`)
  return wrong.length === 0
}

/** Whether something that is expected is not so where nothing strikes. */
export function tellWithoutFaults(outcome: PlayOutcome): boolean {
  const gone = missedWithoutFaults(outcome)
  for (const { what, problem } of outcome.verdicts) {
    console.log(problem === null ? `  so without faults   ${what}` : `  of the faults       ${what}`)
  }
  console.log(
    `${outcome.name}: ${gone.length > 0 ? 'it can fail' : 'FAILED: all that it expects is so without its faults'}`,
  )
  return gone.length > 0
}

export function tellAll(
  outcomes: readonly { readonly file: string; readonly outcome: PlayOutcome }[],
  { withoutFaults, cpuSeconds }: { readonly withoutFaults: boolean; readonly cpuSeconds: number },
): number {
  let failed = 0
  let virtualMs = 0
  for (const { file, outcome } of outcomes) {
    virtualMs += outcome.virtualMs
    const wrong = withoutFaults
      ? missedWithoutFaults(outcome).length > 0
        ? []
        : ['all that it expects is so without its faults']
      : missed(outcome)
    if (wrong.length === 0) continue
    failed++
    const how = withoutFaults ? ' --without-faults' : ''
    console.log(
      `${outcome.name}, seed ${outcome.seed}: FAILED, play it again with: ${replayFileCommand(file, outcome.seed)}${how}`,
    )
    for (const what of wrong) console.log(`  ${what}`)
  }
  const hours = (virtualMs / 3.6e6).toFixed(1)
  console.log(`${outcomes.length} plays, ${failed} failed; ${hours} virtual hours, ${cpuSeconds.toFixed(1)} s of CPU`)
  return failed === 0 ? 0 : 1
}
