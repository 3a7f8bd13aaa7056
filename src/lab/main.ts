/** The lab's door: `labCommand()` for the CLI, and the programs that the lab starts itself (`internal …`). */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { connect } from 'node:net'
import { constants } from 'node:os'
import { resolve } from 'node:path'
import { createInterface } from 'node:readline/promises'
import { Command } from 'commander'
import { jsonLogger, nodeClock, nodeFiles, nodeNetwork, nodeProcesses, nodeRandom } from '../base/node/index.ts'
import { serveArray } from './array/serve.ts'
import { addVerbs } from './commands.ts'
import { Cgroups } from './cgroups.ts'
import { serveLabd } from './daemon.ts'
import { runInit } from './host-init.ts'
import { insideHost } from './names.ts'
import type { LabPorts, Launcher } from './ports.ts'

const cliMain = resolve(import.meta.dirname, '../cli/main.ts')

function ports(): LabPorts {
  return {
    clock: nodeClock(),
    files: nodeFiles(),
    network: nodeNetwork(),
    processes: nodeProcesses(),
    random: nodeRandom(),
  }
}

function launcherOf(main: string): Launcher {
  return { node: process.execPath, main }
}

function internalCommand(): Command {
  const internal = new Command('internal').description('programs that a lab starts itself')
  internal.command('array <lab> <folder> <main>').action(async (_lab: string, folder: string) => {
    await serveArray(ports(), folder)
  })
  internal.command('labd <lab> <folder> <main>').action(async (lab: string, folder: string, main: string) => {
    const own = ports()
    const cgroups = await Cgroups.open(own, lab)
    await serveLabd({ ports: own, launcher: launcherOf(main), lab, folder, cgroups }, jsonLogger())
  })
  internal.command('init <main>').action(async (main: string) => {
    const own = ports()
    const terminate = new AbortController()
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => terminate.abort(new Error(signal)))
    const hangup = (): Promise<void> => new Promise((resolve) => process.once('SIGHUP', () => resolve()))
    // A signal between two waits must not be the end of a host.
    process.on('SIGHUP', () => undefined)
    // A running sleep keeps the process alive while it waits for signals alone.
    const alive = setInterval(() => undefined, 2 ** 30)
    await own.files.write(`${insideHost.run}/init.pid`, String(process.pid))
    await runInit(own, launcherOf(main), jsonLogger(), { hangup, terminate: terminate.signal })
    clearInterval(alive)
  })
  return internal
}

/** `holdfast` where it is installed, the checkout's launcher elsewhere; root's client file is for root alone. */
function programName(): string {
  const isInstalled = (process.env['PATH'] ?? '').split(':').some((folder) => existsSync(`${folder}/holdfast`))
  return `${process.env['SUDO_USER'] === undefined ? '' : 'sudo '}${isInstalled ? 'holdfast' : './holdfast'}`
}

/** Runs a program on this terminal; Ctrl-C is the program's. */
function attach([command = '', ...args]: readonly string[]): Promise<number> {
  const ignore = (): void => undefined
  process.on('SIGINT', ignore)
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: 'inherit' })
    child.once('error', reject)
    child.once('close', (code, signal) => resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])))
  })
}

/** One line from the person at the terminal; empty at the end of input. Rejects when the signal aborts. */
async function ask(question: string, signal: AbortSignal): Promise<string> {
  process.stderr.write(question)
  // The kernel edits the line, so Ctrl-C stays a signal.
  const reader = createInterface({ input: process.stdin, terminal: false })
  try {
    return await new Promise<string>((resolve, reject) => {
      reader.once('line', resolve)
      reader.once('close', () => resolve(''))
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
    }).catch((thrown: unknown) => {
      process.stderr.write('\n')
      throw thrown
    })
  } finally {
    reader.close()
    process.stdin.pause()
  }
}

function interrupts(): { signal: AbortSignal } & Disposable {
  const controller = new AbortController()
  const stop = (): void => controller.abort(new Error('interrupted'))
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, stop)
  return {
    signal: controller.signal,
    [Symbol.dispose]: () => {
      for (const signal of ['SIGTERM', 'SIGINT'] as const) process.off(signal, stop)
    },
  }
}

/** The `lab` command with all its verbs, to be added to the CLI's program. */
export function labCommand(): Command {
  const lab = new Command('lab').description('a whole datacenter on this machine')
  lab.enablePositionalOptions()
  addVerbs(lab, {
    ports,
    launcher: launcherOf(cliMain),
    isRoot: () => process.getuid?.() === 0,
    program: programName(),
    out: (text) => process.stdout.write(text),
    attach,
    exit: (code) => process.exit(code),
    screen: {
      isTerminal: process.stdout.isTTY && process.stdin.isTTY,
      columns: () => (process.stdout.isTTY && process.stdout.columns > 0 ? process.stdout.columns : 80),
      out: (text) => process.stdout.write(text),
    },
    ask,
    interrupts,
    connectTcp: (host, port) => connect({ host, port }),
  })
  lab.addCommand(internalCommand(), { hidden: true })
  return lab
}

// Started by itself (the lab's own programs are): less to load than the whole CLI.
if (import.meta.main) await labCommand().parseAsync()
