/**
 * dev/chaos: strikes a lab at random and looks that every promise is kept (docs/chaos.md). Exit code 0: all were; 1: one
 * was broken, or all did not become whole again; 2: the arguments are wrong; 130: ended by Ctrl-C before.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { nodeRandom } from '../src/base/node/index.ts'
import { describeError } from '../src/base/errors.ts'
import { keepEvidence } from '../test/support/chaos/evidence.ts'
import { strikeLine, table, type Struck } from '../test/support/chaos/report.ts'
import { doubles, order, singles, type Planned, type Strike } from '../test/support/chaos/strikes.ts'
import { Broken, World, type Guest } from '../test/support/chaos/world.ts'
import { TestLab } from '../test/support/lab.ts'

/** Where the machine itself stood still for so long, a guest that was started again is no fault of anybody. */
const starvedEnoughMs = 1000

const all = [...singles, ...doubles]

const usage = `usage: dev/chaos --minutes N | --strikes N [options]
  --minutes N     begin no new strike after so many minutes of strikes
  --strikes N     strike so often
  --seed S        the order of strikes, their victims and their lengths; a run prints its own
  --only WORDS    only strikes whose names hold these words (may be given again)
  --hosts N       default 3
  --managers N    default 3, each with a member of etcd
  --patience S    how many seconds all may take to be whole after it was healed; default 180
  --no-ft         no VM that is held in step on two hosts
  --folder PATH   for report.json and, when a promise is broken, the lab's logs; default /var/tmp/holdfast-chaos-SEED
strikes:
${all.map(({ name }) => `  ${name}`).join('\n')}`

interface Wanted {
  readonly minutes: number
  readonly strikes: number
  readonly seed: number
  readonly hosts: number
  readonly managers: number
  readonly patience: number
  readonly hasProtected: boolean
  readonly folder: string
  readonly chosen: readonly Strike[]
}

function readArguments(): Wanted | 'help' | undefined {
  try {
    const text = { type: 'string' } as const
    const flag = { type: 'boolean' } as const
    const { values } = parseArgs({
      options: {
        ...{ minutes: text, strikes: text, seed: text, hosts: text, managers: text, patience: text, folder: text },
        ...{ only: { ...text, multiple: true }, 'no-ft': flag, help: { ...flag, short: 'h' } },
      },
    })
    if (values.help === true) return 'help'
    const { minutes, strikes, only, folder } = values
    const seed = wholeNumber(values.seed, nodeRandom().int(1e6))
    const wanted: Wanted = {
      ...{ minutes: wholeNumber(minutes, Infinity), strikes: wholeNumber(strikes, Infinity), seed },
      ...{ hosts: wholeNumber(values.hosts, 3), managers: wholeNumber(values.managers, 3) },
      patience: wholeNumber(values.patience, 180),
      hasProtected: values['no-ft'] !== true,
      folder: folder ?? `/var/tmp/holdfast-chaos-${seed}`,
      chosen: all.filter(({ name }) => only?.some((words) => name.includes(words)) ?? true),
    }
    const isBounded = minutes !== undefined || strikes !== undefined
    // A host that is lost leaves two others, of which one vouches for the other.
    const isWide = wanted.hosts >= 3 && wanted.hosts <= 8 && (wanted.managers === 3 || wanted.managers === 5)
    return isBounded && isWide && wanted.chosen.length > 0 ? wanted : undefined
  } catch {
    return undefined
  }
}

function wholeNumber(text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise
  if (/^[0-9]{1,9}$/.test(text)) return Number(text)
  throw new Error(`${text} is no whole number`)
}

async function strikeOnce(world: World, { strike, isFenced, random }: Planned): Promise<Struck> {
  await world.fence(isFenced)
  await world.whole()
  const boots = new Map(world.guests.map(({ name, judge }) => [name, judge.boots.length]))
  for (const { judge } of world.guests) judge.mark()
  const whom: string[] = []
  world.starved()
  const struckAt = performance.now()
  await strike.hit({ world, random, isFenced, say: (what) => void whom.push(what) })
  const healedAt = performance.now()
  await world.heal()
  if (strike.pauses === true) await world.resume()
  await world.whole()
  const wholeAt = performance.now()
  const silencesMs = Object.fromEntries(
    world.guests.map(({ name, judge }) => [name, Math.round(judge.silence(wholeAt))]),
  )
  await world.verify()
  const restarted = world.guests
    .filter(({ name, judge }) => judge.boots.length > (boots.get(name) ?? 0))
    .map(({ name }) => name)
  const starvedMs = Math.round(world.starved())
  if (strike.restartsNone === true && restarted.length > 0 && starvedMs < starvedEnoughMs)
    throw new Broken(
      `${restarted.join(', ')} started again, which nothing of this may do; this program itself had no turn for ${starvedMs} ms at most`,
    )
  return {
    starvedMs,
    ...{ kind: strike.name, what: whom.join('; ') || 'all', isFenced, silencesMs, restarted },
    ...{ heldMs: Math.round(healedAt - struckAt), wholeMs: Math.round(wholeAt - healedAt) },
  }
}

async function strikeAll(world: World, wanted: Wanted, strikes: Struck[], say: (line: string) => void): Promise<void> {
  const end = performance.now() + wanted.minutes * 60_000
  for (const planned of order(wanted.seed, wanted.chosen)) {
    if (strikes.length >= wanted.strikes || performance.now() > end) return
    const what = `strike ${strikes.length + 1} (${planned.strike.name}, ${planned.isFenced ? 'fenced' : 'leases alone'})`
    const struck = await strikeOnce(world, planned).catch((cause: unknown) => {
      throw cause instanceof Broken ? new Broken(`${what}: ${cause.message}`) : new Error(what, { cause })
    })
    strikes.push(struck)
    say(`${strikes.length} ${strikeLine(struck)}`)
    const renewed = await world.renew()
    if (renewed.length > 0) say(`  started again often: ${renewed.join(', ')} gives its place to a new one`)
  }
}

/** The last of it: nobody is told any more of what is over. */
async function alarmsClear(world: World, say: (line: string) => void): Promise<void> {
  const since = performance.now()
  let waiting: string[] = []
  await world.until(
    'alarms of what is over are cleared',
    async () => {
      const { wrong, waiting: rest } = await world.alarms(since)
      waiting = rest.map(({ type, subject, count }) => `${type} of ${subject.name} (raised ${count} times)`)
      const words = wrong.map(({ id, type, message }) => `${id} ${type}: ${message}`)
      if (wrong.length > 0) throw new Broken(`alarms stand: ${words.join('; ')}`)
      return rest.every(({ count }) => count > 1) || rest.length === 0
    },
    90_000,
  )
  if (waiting.length > 0) say(`alarms that came back too often to be cleared at once: ${waiting.join(', ')}`)
}

/** What was wrong; undefined: nothing, or it was ended before. */
async function run(wanted: Wanted, strikes: Struck[], stop: AbortSignal): Promise<string | undefined> {
  const say = (line: string): void => console.log(line)
  const { hosts, managers, hasProtected, folder, chosen } = wanted
  const hasStateDisks = chosen.some(({ fillsState }) => fillsState === true)
  const name = `ch${process.pid % 100_000}`
  await using lab = await TestLab.open({ name, hosts, managers, hasFence: true, diskGiB: 1 })
  let guests: readonly Guest[] = []
  try {
    await using world = await World.open(lab, { hasProtected, hasStateDisks, patienceMs: 1000 * wanted.patience }, stop)
    guests = world.guests
    await world.whole()
    say(`${guests.length} guests on ${hosts} hosts, ${managers} managers`)
    await strikeAll(world, wanted, strikes, say)
    await alarmsClear(world, say)
    const count = guests.reduce((sum, { judge }) => sum + judge.next, 0)
    say(`${count} numbers of the guests that are there were acknowledged, and all are on their disks`)
    return undefined
  } catch (thrown) {
    if (stop.aborted) return undefined
    await keepEvidence(lab, guests, folder)
    return describeError(thrown)
  }
}

async function main(): Promise<number> {
  const wanted = readArguments()
  if (wanted === 'help') return (console.log(usage), 0)
  if (wanted === undefined) return (console.error(usage), 2)
  if (process.getuid?.() !== 0) return (console.error(`it makes a lab, which needs root`), 2)
  const { seed, folder } = wanted
  console.log(`seed ${seed}`)
  const stop = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stop.abort(new Error('ended')))
  const strikes: Struck[] = []
  const wrong = await run(wanted, strikes, stop.signal).catch((thrown: unknown) => {
    if (!stop.signal.aborted) return describeError(thrown)
    console.error(describeError(thrown))
    return undefined
  })
  if (strikes.length > 0) console.log(`\n${table(strikes)}`)
  await mkdir(folder, { recursive: true })
  const ends = { isEndedEarly: stop.signal.aborted, wrong: wrong ?? null }
  const report = { seed, arguments: process.argv.slice(2), ...ends, strikes }
  await writeFile(`${folder}/report.json`, `${JSON.stringify(report, null, 2)}\n`)
  console.log(`all figures are in ${folder}/report.json`)
  if (wrong !== undefined) {
    console.error(`FAILED: ${wrong}\nseed ${seed}; logs and what the managers knew are in ${folder}`)
    return 1
  }
  if (stop.signal.aborted) console.log('ended before its time; nothing was wrong so far')
  return stop.signal.aborted ? 130 : 0
}

// Sockets of what was struck may be left pending; they must not keep the program.
process.exit(await main())
