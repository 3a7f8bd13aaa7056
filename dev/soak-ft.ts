/**
 * dev/soak ft --kills N [--seed S] [--only WORDS]: strikes those who hold a protected VM, again and again, in one lab of
 * three hosts. The strikes come in rounds in which each victim has its turn once, in an order that the seed gives; with
 * `--only` (may be given again) just those victims whose names hold these words.
 *
 * Exit code 0: nobody noticed anything; 1: a strike was noticed (which one, the pumps' logs and the seed are shown);
 * 2: the arguments are wrong. Ctrl-C ends it after the strike in hand, with the summary.
 */
import { parseArgs } from 'node:util'
import { nodeRandom } from '../src/base/node/index.ts'
import { describeError } from '../src/base/errors.ts'
import { SeededRandom } from '../src/sim/seeded-random.ts'
import { TestLab } from '../test/support/lab.ts'
import { ProtectedVm, pumpLogs, victims, type Struck, type Victim } from '../test/support/protected-vm.ts'

/** The disk is read back after each so many strikes. */
const verifyEvery = 10

interface Strike extends Struck {
  readonly seconds: number
}

function wholeNumber(text: string | undefined): number {
  return text !== undefined && /^[0-9]{1,9}$/.test(text) ? Number(text) : Number.NaN
}

interface Arguments {
  readonly kills: number
  readonly seed: number
  readonly chosen: readonly Victim[]
}

function readArguments(): Arguments | undefined {
  try {
    const text = { type: 'string' } as const
    const { values } = parseArgs({ options: { kills: text, seed: text, only: { ...text, multiple: true } } })
    const kills = wholeNumber(values.kills)
    const seed = values.seed === undefined ? nodeRandom().int(1e6) : wholeNumber(values.seed)
    const chosen = victims.filter((victim) => values.only?.some((words) => victim.includes(words)) ?? true)
    return kills > 0 && !Number.isNaN(seed) && chosen.length > 0 ? { kills, seed, chosen } : undefined
  } catch {
    return undefined
  }
}

/** Each victim once, then each once more, without end. */
function* order({ seed, chosen }: Arguments): Generator<Victim, never> {
  const random = new SeededRandom(seed)
  for (;;) yield* random.shuffle(chosen)
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0
}

function line(columns: readonly (string | number)[], widths: readonly number[]): string {
  return columns
    .map((text, i) => (i === 0 ? String(text).padEnd(widths[i] ?? 0) : String(text).padStart(widths[i] ?? 0)))
    .join('  ')
}

function summary(strikes: readonly Strike[]): string {
  const widths = [26, 7, 12, 11, 13]
  const rows = victims.flatMap((victim) => {
    const own = strikes.filter((strike) => strike.victim === victim)
    if (own.length === 0) return []
    const silences = own.map(({ longestSilence }) => longestSilence)
    const again = Math.max(...own.map(({ seconds }) => seconds)).toFixed(1)
    const worst = Math.round(Math.max(...silences))
    return [line([victim, own.length, Math.round(median(silences)), worst, again], widths)]
  })
  return [line(['victim', 'strikes', 'median ms', 'worst ms', 'worst again s'], widths), ...rows].join('\n')
}

async function soak(lab: TestLab, wanted: Arguments, strikes: Strike[], stop: AbortSignal): Promise<void> {
  const { kills, seed } = wanted
  const { clock } = lab.ports
  using own = await ProtectedVm.open(lab, 'soak')
  let victim: Victim | undefined
  try {
    for (const next of order(wanted)) {
      if (strikes.length === kills || stop.aborted) break
      victim = next
      const from = clock.monotonic()
      const struck = await own.strike(victim)
      const strike = { ...struck, seconds: (clock.monotonic() - from) / 1000 }
      strikes.push(strike)
      const silence = `longest silence ${Math.round(strike.longestSilence)} ms`
      const again = `protected again after ${strike.seconds.toFixed(1)} s`
      console.log(`${strikes.length}/${kills} ${victim}: ${strike.from} → ${strike.to}, ${silence}, ${again}`)
      if (strikes.length % verifyEvery === 0) await own.verify()
    }
    victim = undefined
    await own.verify()
    console.log(`${own.acknowledged} numbers acknowledged and all on the disk, ${own.ticks} ticks on one connection`)
  } catch (thrown) {
    const vm = await own.vm().catch(() => undefined)
    console.error(vm === undefined ? 'the manager does not answer' : pumpLogs(lab, vm.id))
    const what = victim === undefined ? 'the disk' : `strike ${strikes.length + 1} (${victim})`
    throw new Error(`${what}, seed ${seed}`, { cause: thrown })
  }
}

async function main(): Promise<number> {
  const wanted = readArguments()
  if (wanted === undefined) {
    console.error('usage: dev/soak ft --kills N [--seed S] [--only WORDS]...')
    console.error(`victims: ${victims.join(', ')}`)
    return 2
  }
  const { kills, seed } = wanted
  console.log(`seed ${seed}, ${kills} strikes`)
  const stop = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stop.abort())
  const strikes: Strike[] = []
  try {
    await using lab = await TestLab.open({ name: `sk${process.pid % 100_000}`, hosts: 3, diskGiB: 2 })
    await soak(lab, wanted, strikes, stop.signal)
    return 0
  } catch (thrown) {
    console.error(`FAILED: ${describeError(thrown)}`)
    return 1
  } finally {
    if (strikes.length > 0) console.log(summary(strikes))
  }
}

// The client's sockets are gone by then; what a strike has left pending must not keep the program.
process.exit(await main())
