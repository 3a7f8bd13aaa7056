/**
 * What a command sees of the world: the terminal, the flags given before or after it, and doors that are opened only when
 * a command needs them, so that `--help` loads no network code.
 */
import type { Command } from 'commander'
import type { Clock } from '../base/clock.ts'
import type { Files } from '../base/files.ts'
import type { Network } from '../base/network.ts'
import type { Random } from '../base/random.ts'
import type { Session } from './connection/session.ts'
import type { Terminal } from './terminal.ts'

export interface Ports {
  readonly clock: Clock
  readonly files: Files
  readonly network: Network
  readonly random: Random
}

/** Options that every command takes. */
export interface GlobalFlags {
  readonly json: boolean
  readonly url: string | undefined
  readonly tokenFile: string | undefined
  readonly caFile: string | undefined
}

export interface Cli {
  readonly terminal: Terminal
  readonly env: Readonly<Record<string, string | undefined>>
  readonly version: string
  readonly flags: GlobalFlags
  /** Working directory, for file names given relative to it. */
  readonly cwd: string
  ports(): Promise<Ports>
  /** A signed-in client of the manager, made once; throws `not-signed-in` where no address is known. */
  session(): Promise<Session>
  /** Every command there is, loaded, for completion and the reference page. */
  wholeProgram(): Promise<Command>
}

/** The folder for what a person's own commands keep: settings, or (`cache`) state that may be lost. */
export function personalFolder(env: Cli['env'], kind: 'config' | 'cache'): string {
  const set = kind === 'config' ? env['XDG_CONFIG_HOME'] : env['XDG_CACHE_HOME']
  const home = env['HOME'] ?? '/root'
  return `${set !== undefined && set.startsWith('/') ? set : `${home}/.${kind}`}/holdfast`
}

/** A path as given on the command line, made absolute. */
export function absolutePath(cli: Pick<Cli, 'cwd' | 'env'>, path: string): string {
  if (path.startsWith('/')) return path
  if (path === '~' || path.startsWith('~/')) return `${cli.env['HOME'] ?? '/root'}${path.slice(1)}`
  return `${cli.cwd}/${path}`
}
