/** The verbs of `holdfast lab`, as commander commands. */
import type { Duplex } from 'node:stream'
import { Command, InvalidArgumentError, Option } from 'commander'
import { HoldfastError } from '../base/errors.ts'
import { parseSize } from '../base/units.ts'
import { mostHosts } from './address-plan.ts'
import { fenceFaults } from './fence-switch.ts'
import { Lab } from './lab.ts'
import { LiveLine, type Screen } from './live-line.ts'
import {
  checkLabName,
  defaultLabName,
  defaultLabsFolder,
  labNetworks,
  registryFolder,
  type LabNetwork,
} from './names.ts'
import type { LabPorts, Launcher } from './ports.ts'
import { describeStatus, describeUp } from './show.ts'
import { labStatus } from './status.ts'
import { bringUp, moveToTry, takeDown } from './up.ts'

/** What the verbs need of the process they run in. */
export interface Surroundings {
  readonly ports: () => LabPorts
  readonly launcher: Launcher
  readonly isRoot: () => boolean
  /** How this person calls the program. */
  readonly program: string
  readonly out: (text: string) => void
  /** Runs a program with this process's own input and output; its exit code. */
  readonly attach: (argv: readonly string[]) => Promise<number>
  readonly exit: (code: number) => never
  /** Who looks on; a question can be asked of one who is at a terminal. */
  readonly screen: Screen
  readonly ask: (question: string, signal: AbortSignal) => Promise<string>
  /** Aborts on Ctrl-C, which ends nothing by itself until this is disposed. */
  readonly interrupts: () => { readonly signal: AbortSignal } & Disposable
  readonly connectTcp: (host: string, port: number) => Duplex
}

interface Common {
  readonly name: string
  readonly directory?: string
  readonly json?: boolean
}

/** Adds every verb to `lab`. */
export function addVerbs(lab: Command, surroundings: Surroundings): void {
  lifeVerbs(lab, surroundings)
  lookVerbs(lab, surroundings)
  powerVerbs(lab, surroundings)
  faultVerbs(lab, surroundings)
  fenceFaultVerb(lab, surroundings)
  demoVerbs(lab, surroundings)
}

function verb(lab: Command, words: string, summary: string): Command {
  return lab
    .command(words)
    .description(summary)
    .addOption(new Option('--name <name>', 'which lab').default(defaultLabName))
    .addOption(new Option('--directory <folder>', `where labs live (default: ${defaultLabsFolder})`))
}

async function open(surroundings: Surroundings, command: Command): Promise<{ lab: Lab; options: Common }> {
  if (!surroundings.isRoot()) {
    throw new HoldfastError('not-allowed', 'the lab makes namespaces and mounts, which needs root', {
      mend: 'Run the command with sudo.',
    })
  }
  const options: Common = command.optsWithGlobals()
  const name = checkLabName(options.name)
  return { lab: await Lab.find(surroundings.ports(), surroundings.launcher, name, options.directory), options }
}

interface UpFlags {
  readonly hosts: number
  readonly managers: number
  readonly vms: boolean
  readonly shared: boolean
  readonly fence: boolean
  readonly disk?: number
}

function upVerb(lab: Command, surroundings: Surroundings): void {
  const { out } = surroundings
  verb(lab, 'up', 'start a manager, hosts and two VMs on this machine')
    .option('--hosts <count>', 'how many hosts', hostCount, 3)
    .option('--managers <count>', 'how many managers: 1, or 3 on etcd', managerCount, 1)
    .option('--no-vms', 'make no VMs')
    .option('--no-shared', 'only local datastores')
    .option('--no-fence', 'lost hosts are not switched off by themselves')
    .option('--disk <size>', 'size of each local datastore (sparse)', diskGiB)
    .action(async (_, command: Command) => {
      const { lab: own, options } = await open(surroundings, command)
      const chosen = command.opts<UpFlags>()
      const disk = chosen.disk === undefined ? {} : { diskGiB: chosen.disk }
      const say = (line: string): void => (options.json === true ? undefined : out(`  ${line}\n`))
      const result = await bringUp(
        own,
        {
          ...{ hosts: chosen.hosts, managers: chosen.managers, ...disk },
          ...{ hasVms: chosen.vms, hasShared: chosen.shared, hasFence: chosen.fence },
        },
        say,
      )
      if (options.json === true) out(`${JSON.stringify({ isNew: result.isNew, link: result.link, ...result.file })}\n`)
      else {
        const move = await moveToTry(own, result.client)
        const facts = { program: surroundings.program, ...(move === undefined ? {} : { move }) }
        out(describeUp(own, result, await labStatus(own), facts))
      }
    })
}

function lifeVerbs(lab: Command, surroundings: Surroundings): void {
  const { out } = surroundings
  upVerb(lab, surroundings)
  verb(lab, 'down', 'remove the lab, whole').action(async (_, command: Command) => {
    const { lab: own } = await open(surroundings, command)
    const left = await takeDown(own)
    if (left.length > 0) {
      throw new HoldfastError('host-error', `these could not be removed: ${left.join(', ')}`, {
        mend: 'See who holds them (`fuser -vm`), then run `holdfast lab down` again.',
      })
    }
    out(`lab "${own.name}" is gone\n`)
  })
  lab
    .command('list')
    .description('the labs on this machine')
    .action(async (_, command: Command) => {
      const { files } = surroundings.ports()
      const names = await files.list(registryFolder).catch(() => [])
      const rows = await Promise.all(
        names.map(async (name) => ({
          id: name,
          name,
          folder: (await files.readText(`${registryFolder}/${name}`)).trim(),
        })),
      )
      const isJson = command.optsWithGlobals<{ json?: boolean }>().json === true
      out(isJson ? `${JSON.stringify(rows)}\n` : rows.map(({ name, folder }) => `${name}  ${folder}\n`).join(''))
    })
}

function lookVerbs(lab: Command, surroundings: Surroundings): void {
  const { out } = surroundings
  verb(lab, 'status', 'hosts, power and the faults in force').action(async (_, command: Command) => {
    const { lab: own, options } = await open(surroundings, command)
    const status = await labStatus(own)
    out(options.json === true ? `${JSON.stringify(status, null, 2)}\n` : describeStatus(status))
  })
  verb(lab, 'run <host> <command...>', 'run a command in a host (or the manager): holdfast lab run host1 -- ip addr')
    .passThroughOptions(false)
    .action(async (host: string, argv: string[], _: unknown, command: Command) => {
      const { lab: own } = await open(surroundings, command)
      surroundings.exit(await surroundings.attach(await own.inside(host, argv)))
    })
}

function powerVerbs(lab: Command, surroundings: Surroundings): void {
  const verbs = [
    ['crash', 'everything on these hosts dies at once', 'off', (own: Lab, host: string) => own.crash(host)],
    ['boot', 'start hosts that are off', 'on', (own: Lab, host: string) => own.boot(host)],
    [
      'freeze',
      'stop hosts in their tracks, as a hung kernel does',
      'frozen',
      (own: Lab, host: string) => own.freeze(host),
    ],
    ['thaw', 'let frozen hosts go on', 'on', (own: Lab, host: string) => own.thaw(host)],
  ] as const
  for (const [name, summary, after, act] of verbs) {
    verb(lab, `${name} <host...>`, `${summary} (or the manager)`).action(
      async (hosts: string[], _: unknown, command: Command) => {
        const { lab: own } = await open(surroundings, command)
        for (const host of hosts) {
          await act(own, host)
          surroundings.out(`${host} is ${after}\n`)
        }
      },
    )
  }
  verb(lab, 'power <host> <verb>', 'the outside power switch: on, off, cycle, status').action(
    async (host: string, how: string, _: unknown, command: Command) => {
      const { lab: own, options } = await open(surroundings, command)
      if (how !== 'on' && how !== 'off' && how !== 'cycle' && how !== 'status') {
        throw new HoldfastError('invalid-request', `the power switch knows no "${how}"`, {
          mend: 'Use on, off, cycle or status.',
        })
      }
      await own.existing()
      await own.withOutside()
      const status = await own.power(host, how)
      const watchdog = status.watchdogMs === null ? '' : `, watchdog armed with ${status.watchdogMs} ms`
      surroundings.out(
        options.json === true ? `${JSON.stringify(status)}\n` : `${host} is ${status.power}${watchdog}\n`,
      )
    },
  )
}

function faultVerbs(lab: Command, surroundings: Surroundings): void {
  const { out } = surroundings
  verb(lab, 'partition <host...>', 'cut hosts (or the manager, or outside) off from others')
    .option('--from <host...>', 'from whom (default: everybody else)')
    .addOption(new Option('--network <network>', 'one network only').choices([...labNetworks]))
    .option('--one-way', 'only what these hosts send is lost')
    .action(async (hosts: string[], _: unknown, command: Command) => {
      const { lab: own } = await open(surroundings, command)
      const { from, network, oneWay } = command.opts<{ from?: string[]; network?: LabNetwork; oneWay?: true }>()
      await own.partition({
        hosts,
        isOneWay: oneWay === true,
        ...(from === undefined ? {} : { from }),
        ...(network === undefined ? {} : { network }),
      })
      const whom = from === undefined ? 'everybody else' : from.join(', ')
      out(`${hosts.join(', ')} ${oneWay === true ? 'does not reach' : 'is cut off from'} ${whom}\n`)
    })
  const storage = lab.command('storage').description('faults of the storage: cut, slow, fill')
  verb(storage, 'cut <host>', "every access to the host's datastores hangs, for open files too")
    .option('--fail', 'accesses fail with an I/O error instead')
    .action(async (host: string, _: unknown, command: Command) => {
      const { lab: own } = await open(surroundings, command)
      const isFail = command.opts<{ fail?: true }>().fail === true
      await own.storageCut(host, isFail ? 'fail' : 'hang')
      out(`the storage of ${host} ${isFail ? 'fails' : 'hangs'}\n`)
    })
  verb(storage, 'slow <host>', "make the host's storage slow")
    .option('--latency <ms>', 'added to each access', wholeNumber, 50)
    .option('--rate <size>', 'bytes per second', kibibytes, 2048)
    .action(async (host: string, _: unknown, command: Command) => {
      const { lab: own } = await open(surroundings, command)
      const { latency, rate } = command.opts<{ latency: number; rate: number }>()
      await own.storageSlow(host, { latencyMs: latency, kibPerSecond: rate })
      out(`the storage of ${host} is slow: ${latency} ms and ${rate} KiB/s\n`)
    })
  verb(storage, 'fill <host>', "fill the host's local datastore").action(
    async (host: string, _: unknown, command: Command) => {
      const { lab: own } = await open(surroundings, command)
      await own.storageFill(host)
      out(`the local datastore of ${host} is full\n`)
    },
  )
  verb(lab, 'heal', 'end every fault, boot what is off').action(async (_, command: Command) => {
    const { lab: own } = await open(surroundings, command)
    await own.heal()
    out('all faults are healed\n')
  })
}

function fenceFaultVerb(lab: Command, surroundings: Surroundings): void {
  const { out } = surroundings
  verb(
    lab,
    'fence-fault <host> <fault>',
    `how the power switch fails those who fence: ${fenceFaults.join(', ')}, none`,
  ).action(async (host: string, wanted: string, _: unknown, command: Command) => {
    const fault = fenceFaults.find((each) => each === wanted)
    if (fault === undefined && wanted !== 'none') {
      throw new HoldfastError('invalid-request', `the power switch knows no fault "${wanted}"`, {
        mend: `Use one of: ${fenceFaults.join(', ')}, none.`,
      })
    }
    const { lab: own } = await open(surroundings, command)
    await own.fenceFault(host, fault)
    out(fault === undefined ? `${host} can be fenced\n` : `fencing ${host}: the power switch will ${fault}\n`)
  })
}

function demoVerbs(lab: Command, surroundings: Surroundings): void {
  const demo = lab.command('demo').description('see it for yourself: ft')
  verb(demo, 'ft', 'fault tolerance: the host of a protected VM dies, and its client hears next to nothing of it')
    .option('-y, --yes', 'do not ask before the host is crashed')
    .action(async (_, command: Command) => {
      const { lab: own, options } = await open(surroundings, command)
      await demoFtVerb(own, surroundings, {
        isYes: command.opts<{ yes?: true }>().yes === true,
        isJson: options.json === true,
      })
    })
}

const interruptedCode = 130

async function demoFtVerb(own: Lab, surroundings: Surroundings, how: { isYes: boolean; isJson: boolean }) {
  const { screen, out, ask, exit, program, connectTcp } = surroundings
  if (!how.isYes && !screen.isTerminal) {
    throw new HoldfastError('invalid-request', 'The demo crashes a host. Nobody is there to ask', {
      mend: 'Give --yes to go on.',
    })
  }
  // Loaded by nobody else: the programs of a lab load this file too.
  const [{ demoFt }, { demoVm, summaryWords }] = await Promise.all([
    import('./demo-ft.ts'),
    import('./demo-ft-words.ts'),
  ])
  using line = new LiveLine(how.isJson ? { ...screen, isTerminal: false, out: () => undefined } : screen)
  using interrupts = surroundings.interrupts()
  const { signal } = interrupts
  const confirm = async (question: string): Promise<boolean> => {
    if (how.isYes) return true
    line.clear()
    return /^y(es)?$/i.test((await ask(`${question} [y/N] `, signal)).trim())
  }
  try {
    const result = await demoFt(own, line, { screen, connectTcp, confirm, signal })
    if (result === undefined) line.say(`nothing was crashed; ${demoVm} runs on`)
    else out(how.isJson ? `${JSON.stringify(result)}\n` : summaryWords(result, program))
    if (result !== undefined && result.ticksLost + result.ticksRepeated > 0) exit(1)
  } catch (thrown) {
    if (!signal.aborted) throw thrown
    line.say(`interrupted; no host is left crashed, ${demoVm} stays if it was made`)
    exit(interruptedCode)
  }
}

function wholeNumber(text: string): number {
  if (!/^[0-9]{1,9}$/.test(text)) throw new InvalidArgumentError('This is a whole number.')
  return Number(text)
}

function hostCount(text: string): number {
  const count = wholeNumber(text)
  if (count < 1 || count > mostHosts) throw new InvalidArgumentError(`A lab has 1 to ${mostHosts} hosts.`)
  return count
}

function managerCount(text: string): number {
  const count = wholeNumber(text)
  if (count !== 1 && count !== 3) throw new InvalidArgumentError('A lab has 1 manager, or 3.')
  return count
}

function kibibytes(text: string): number {
  const bytes = parseSize(text)
  if (bytes === undefined || bytes < 1024) throw new InvalidArgumentError('A rate is a size such as 512K or 2M.')
  return Math.round(bytes / 1024)
}

function diskGiB(text: string): number {
  const bytes = parseSize(text)
  if (bytes === undefined || bytes < 2 ** 30) throw new InvalidArgumentError('A disk is at least 1G.')
  return Math.round(bytes / 2 ** 30)
}
