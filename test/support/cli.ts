/** The command line as a user has it: `./holdfast` as a program of its own, pointed at a lab's manager. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { join, resolve } from 'node:path'
import { buffer, text } from 'node:stream/consumers'
import { writeFileSync } from 'node:fs'
import type { Problem } from '../../src/contracts/problem.ts'
import type { TestLab } from './lab.ts'

const program = resolve(import.meta.dirname, '../../holdfast')
const patienceMs = 240_000

export interface Said {
  readonly code: number | null
  readonly out: Buffer
  readonly err: string
}

export class Cli {
  readonly #env: NodeJS.ProcessEnv

  /** `folder`: where the manager's certificate may be written. */
  constructor(lab: TestLab, folder: string) {
    const { url, token, ca } = lab.up.file
    const caFile = join(folder, 'ca.pem')
    writeFileSync(caFile, ca)
    this.#env = { ...process.env, HOLDFAST_URL: url, HOLDFAST_TOKEN: token, HOLDFAST_CA: caFile }
  }

  /** Runs to its end, whatever that is. `input` goes through a pipe. */
  async run(args: readonly string[], input = ''): Promise<Said> {
    const child = spawn(program, args, { env: this.#env, timeout: patienceMs, killSignal: 'SIGKILL' })
    child.stdin.on('error', () => undefined)
    child.stdin.end(input)
    const ended = new Promise<number | null>((done) => child.on('close', done))
    const [out, err, code] = await Promise.all([buffer(child.stdout), text(child.stderr), ended])
    return { code, out, err }
  }

  /** What a command that works answers in JSON. */
  async json<T>(...args: readonly string[]): Promise<T> {
    const { code, out, err } = await this.run(['--json', ...args])
    assert.equal(code, 0, `holdfast ${args.join(' ')}: ${err}`)
    return JSON.parse(out.toString()) as T
  }

  /** The problem document of a command that does not work. */
  async problem(...args: readonly string[]): Promise<Problem & { exitCode: number | null }> {
    const { code, err } = await this.run(['--json', ...args])
    assert.notEqual(code, 0, `holdfast ${args.join(' ')} should have failed`)
    // Progress is told on standard error too, before it.
    return { ...(JSON.parse(err.slice(Math.max(0, err.indexOf('{')))) as Problem), exitCode: code }
  }
}
