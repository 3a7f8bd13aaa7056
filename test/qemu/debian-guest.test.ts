/** A complete Debian (systemd, ssh, guest agent) from an imported disk image, through manager and agent, by BIOS and UEFI. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { join, resolve } from 'node:path'
import type { Duplex } from 'node:stream'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'
import type { Image, Vm } from '../../src/contracts/inventory.ts'
import { Cli } from '../support/cli.ts'
import { TestLab } from '../support/lab.ts'

const run = promisify(execFile)
/** Half a minute on a machine that does nothing else. */
const bootMs = 600_000
let lab: TestLab
let cli: Cli
let folder: string

before(async () => {
  folder = mkdtempSync('/var/tmp/hfd')
  const build = resolve(import.meta.dirname, '../../dev/guests/build')
  const { stdout } = await run(build, ['debian'], { maxBuffer: 2 ** 26 })
  const guest = stdout.trim().split('\n').at(-1) ?? ''
  const manifest = JSON.parse(readFileSync(join(guest, 'manifest.json'), 'utf8')) as { sha256: Record<string, string> }
  lab = await TestLab.open({ name: `pd${process.pid % 100_000}`, hosts: 1, hasGuest: false })
  cli = new Cli(lab, folder)
  const sha256 = manifest.sha256['disk.qcow2'] ?? ''
  const where = ['--file', join(guest, 'disk.qcow2'), '--datastore', 'shared', '--sha256', sha256]
  await cli.json('image', 'import', 'debian', ...where)
  const image = (await cli.json<Image[]>('image', 'list')).find(({ name }) => name === 'debian')
  assert.deepEqual([image?.state, image?.format, image?.sha256], ['ready', 'qcow2', sha256])
})
after(async () => {
  await lab?.[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
})

/** What the VM's serial line says from now on, and a way to type. */
async function serialLine(vm: string): Promise<{ text: () => string; stream: Duplex }> {
  const { url } = await lab.client.call('createTicket', { params: { vm }, body: { kind: 'serial' } })
  const stream = await lab.client.openConsole(url)
  let text = ''
  stream.on('data', (data: Buffer) => (text += data.toString('latin1')))
  stream.on('error', () => undefined)
  return { text: () => text, stream }
}

/** The first line that an ssh server says. */
async function sshBanner(address: string): Promise<string | undefined> {
  const socket = connect({ host: address, port: 22, timeout: 3000 })
  try {
    return await new Promise<string | undefined>((said) => {
      socket.once('data', (data) => said(data.toString('latin1').split('\r\n')[0]))
      for (const end of ['timeout', 'error', 'close'] as const) socket.once(end, () => said(undefined))
    })
  } finally {
    socket.destroy()
  }
}

for (const firmware of ['bios', 'uefi'] as const) {
  test(`Debian boots by ${firmware}, answers ssh on its address, lets root in, and shuts down when asked`, async () => {
    const machine = ['--firmware', firmware, '--memory', '256M', '--image', 'debian', '--datastore', 'shared']
    await cli.json('vm', 'create', firmware, ...machine, '--start')
    const vm = await cli.json<Vm>('vm', 'show', firmware)
    const { text, stream } = await serialLine(vm.id)
    const says = (pattern: RegExp, timeoutMs: number): Promise<true | undefined> =>
      lab.eventually(`${String(pattern)} on the serial line`, async () => pattern.test(text()) || undefined, timeoutMs)
    await says(/login: $/, bootMs)
    const banner = await lab.eventually('ssh', () => sshBanner(vm.addresses[0] ?? ''), bootMs)
    assert.match(banner, /^SSH-2\.0-OpenSSH/)
    stream.write('root\n')
    await says(/Password: $/, 120_000)
    stream.write('holdfast\n')
    await says(/# $/, 120_000)
    // Typed in two pieces, so that the echo is not taken for the answer.
    stream.write(
      'echo "<""$(. /etc/os-release; echo $ID) $(hostname -I)"; [ -d /sys/firmware/efi ] && echo by"-"uefi; echo do"ne"\n',
    )
    await says(/^done\r?$/m, 120_000)
    assert.match(text(), new RegExp(`^<debian ${vm.addresses[0]?.replaceAll('.', '\\.')} `, 'm'))
    assert.equal(/^by-uefi\r?$/m.test(text()), firmware === 'uefi')
    await cli.json('vm', 'shutdown', firmware, '--guest-timeout', '600')
    const off = await cli.json<Vm>('vm', 'show', firmware)
    assert.deepEqual([off.state, off.run.cause], ['stopped', 'guest-shutdown'])
    stream.destroy()
    await cli.json('vm', 'delete', firmware, '--yes')
  })
}
