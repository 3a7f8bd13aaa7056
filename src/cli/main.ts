/** The program `holdfast`: wires the real terminal and the real ports, runs one command line, and exits with its code. */
import { readFileSync } from 'node:fs'
import type { Ports } from './cli.ts'
import { findSettings } from './connection/settings.ts'
import { processTerminal } from './process-terminal.ts'
import { runCommandLine } from './program.ts'

let ports: Promise<Ports> | undefined

/** The ports are loaded when the first command asks for them: help and completion need none. */
async function loadPorts(): Promise<Ports> {
  const [{ nodeClock }, { nodeFiles }, { nodeNetwork }, { nodeRandom }] = await Promise.all([
    import('../base/node/clock.ts'),
    import('../base/node/files.ts'),
    import('../base/node/network.ts'),
    import('../base/node/random.ts'),
  ])
  return { clock: nodeClock(), files: nodeFiles(), network: nodeNetwork(), random: nodeRandom() }
}

function programVersion(): string {
  const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string
  }
  return manifest.version
}

const openPorts = (): Promise<Ports> => (ports ??= loadPorts())

const code = await runCommandLine(
  {
    terminal: processTerminal(),
    env: process.env,
    version: programVersion(),
    cwd: process.cwd(),
    ports: openPorts,
    async openSession(cli) {
      const { openSession } = await import('./connection/open-session.ts')
      const opened = await openPorts()
      return openSession(opened, await findSettings(cli, opened.files))
    },
  },
  process.argv.slice(2),
)
// Kept connections would hold the process back; what was written to a pipe, file or terminal is out already.
process.exit(code)
