/** The complete Debian as a guest: where its image is, and how to sign in. */
import assert from 'node:assert/strict'
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

export interface DebianGuest {
  /** qcow2. */
  readonly disk: string
  /** Of the disk's file. */
  readonly sha256: string
  /** Signs in as root. */
  readonly key: string
}

/** Finds it in the cache, or builds it, which takes a minute or two. */
export async function debianGuest(): Promise<DebianGuest> {
  const build = resolve(import.meta.dirname, '../../dev/guests/build')
  const { stdout } = await run(build, ['debian'], { maxBuffer: 2 ** 26 })
  const folder = stdout.trim().split('\n').at(-1) ?? ''
  const manifest = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')) as { sha256: Record<string, string> }
  const sha256 = manifest.sha256['disk.qcow2']
  assert.ok(sha256 !== undefined, `${folder} has no disk`)
  return { disk: join(folder, 'disk.qcow2'), sha256, key: join(folder, 'id_ed25519') }
}

function sshArguments({ key }: DebianGuest, address: string, command: string): string[] {
  const options = ['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'BatchMode=yes', 'LogLevel=ERROR']
  return ['-i', key, ...options.flatMap((option) => ['-o', option]), `root@${address}`, command]
}

/** Begins a command in the guest, as root. */
export function ssh(guest: DebianGuest, address: string, command: string): ChildProcess {
  return spawn('ssh', sshArguments(guest, address, command))
}

/** Runs a command in the guest to its end, and gives what it said. Rejects when it fails. */
export async function sshRun(guest: DebianGuest, address: string, command: string): Promise<string> {
  return (await run('ssh', sshArguments(guest, address, command))).stdout
}
