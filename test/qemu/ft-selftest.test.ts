/** `holdfast ft selftest` with real QEMUs: a guest of our own loses its host again and again, and nothing is left behind. */
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import type { SelftestReport } from '../../src/agent/main.ts'
import { eventually } from './hypervisor-guest.ts'

const root = join(import.meta.dirname, '../..')
const program = join(root, 'src/cli/main.ts')

interface Ended {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

/** A temporary folder of its own, so that what the test leaves is seen. */
function place(t: TestContext): { readonly folder: string; readonly env: NodeJS.ProcessEnv } {
  const folder = mkdtempSync(join(tmpdir(), 'hfst-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  mkdirSync(join(folder, 'tmp'))
  return { folder, env: { ...process.env, TMPDIR: join(folder, 'tmp') } }
}

function start(args: readonly string[], env: NodeJS.ProcessEnv) {
  const child = spawn(process.execPath, [program, 'ft', 'selftest', ...args], { env })
  const said = { out: '', err: '' }
  child.stdout.on('data', (text: Buffer) => (said.out += text.toString()))
  child.stderr.on('data', (text: Buffer) => (said.err += text.toString()))
  const ended = once(child, 'close').then(([code]): Ended => ({ code: code as number | null, ...said }))
  return { child, said, ended }
}

/** Processes that have something to do with a folder. */
function processesOf(folder: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
      } catch {
        return ''
      }
    })
    .filter((line) => line.includes(folder))
}

test('a few takeovers pass, prove nothing yet, and leave nothing', async (t) => {
  const { folder, env } = place(t)
  const { code, out, err } = await start(['--takeovers', '3', '--data', join(folder, 'data'), '--json'], env).ended
  assert.equal(code, 0, err)
  const { figures, ground, proof } = JSON.parse(out) as SelftestReport
  t.diagnostic(JSON.stringify(figures))
  assert.equal(proof, null)
  assert.equal(ground.tracker, 'userfaultfd')
  assert.equal(figures.takeovers, 3)
  assert.ok(figures.epochs >= 15 && figures.ticks > 100, out)
  assert.deepEqual(readdirSync(join(folder, 'tmp')), [])
  assert.equal(existsSync(join(folder, 'data/ft-selftest.json')), false)
})

test('a tracker that misses pages fails it, and its logs stay', async (t) => {
  if (/^VmFlags:.* sd\b/m.test(readFileSync('/proc/self/smaps', 'utf8')))
    return t.skip('this kernel has soft-dirty bits')
  const { folder } = place(t)
  const plan = { takeovers: 3, accelerator: 'tcg', machineType: 'pc-i440fx-7.2', tracker: 'soft-dirty', folder }
  writeFileSync(join(folder, 'plan.json'), JSON.stringify(plan))
  const inside = join(root, 'src/agent/protect/selftest/main.ts')
  const namespaces = ['--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc']
  const child = spawn('unshare', [...namespaces, process.execPath, inside, join(folder, 'plan.json')])
  let out = ''
  child.stdout.on('data', (text: Buffer) => (out += text.toString()))
  const [code] = (await once(child, 'close')) as [number]
  assert.equal(code, 1)
  assert.match(out, /"is":"failed".*soft-dirty has missed \d+ written pages/)
  assert.match(readFileSync(join(folder, '0/r/pump.log'), 'utf8'), /has missed/)
})

for (const signal of ['SIGINT', 'SIGKILL'] as const) {
  test(`when it is ended by ${signal}, all that it has started ends with it`, async (t) => {
    const { folder, env } = place(t)
    const { child, said, ended } = start(['--takeovers', '1000', '--data', join(folder, 'data')], env)
    await eventually(
      () => `a pump of the test; it says ${said.err}`,
      () => processesOf(join(folder, 'tmp')).some((line) => line.includes('pump-order')) || undefined,
    )
    child.kill(signal)
    const { code } = await ended
    if (signal === 'SIGINT') {
      assert.equal(code, 130)
      assert.deepEqual(readdirSync(join(folder, 'tmp')), [])
    }
    await eventually('the end of all its processes', () => processesOf(join(folder, 'tmp')).length === 0 || undefined)
    assert.equal(existsSync(join(folder, 'data/ft-selftest.json')), false)
  })
}

test('wrong values, no QEMU, and a folder that cannot be written are said at once', async (t) => {
  const { folder, env } = place(t)
  const data = join(folder, 'data')
  const refused = async (code: number, what: RegExp, args: readonly string[], more: NodeJS.ProcessEnv = {}) => {
    const end = await start(args, { ...env, ...more }).ended
    assert.match(end.err, what)
    assert.equal(end.code, code, end.err)
  }
  await refused(2, /whole number/, ['--takeovers', 'many'])
  await refused(2, /At least one/, ['--takeovers', '0'])
  await refused(2, /Allowed choices are userfaultfd, soft-dirty, comparison/, ['--ft-tracker', 'magic'])
  await refused(1, /qemu-system-x86_64 cannot be started/, ['--data', data], { PATH: join(folder, 'empty') })
  writeFileSync(join(folder, 'file'), '')
  await refused(1, /file\/data cannot be written/, ['--data', join(folder, 'file/data')])
  assert.deepEqual(readdirSync(join(folder, 'tmp')), [])
})

test('the bytes of the guest are those of its source', () => {
  const made = execFileSync(join(root, 'dev/build-selftest-guest'), ['--print'], { encoding: 'utf8' })
  const normal = (text: string): string => text.replaceAll(/\s+/g, '')
  assert.equal(normal(readFileSync(join(root, 'src/hypervisor/selftest-guest/image.ts'), 'utf8')), normal(made))
})
