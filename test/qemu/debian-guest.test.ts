/**
 * A complete Debian (systemd, ssh, guest agent) from an imported disk image, through manager and agent, by BIOS and UEFI; the
 * one by UEFI is held in step on a second host, and its host dies.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
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
  lab = await TestLab.open({ name: `pd${process.pid % 100_000}`, hosts: 2, hasGuest: false })
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

/** A connection to the guest's ssh server whose first line has come, and nothing more yet. */
async function sshConnection(address: string): Promise<{ socket: Socket; text: () => string }> {
  const socket = connect({ host: address, port: 22 })
  let text = ''
  socket.on('data', (data: Buffer) => (text += data.toString('latin1')))
  socket.on('error', () => undefined)
  await lab.eventually('the first line of ssh', async () => /^SSH-2\.0-.*\r\n/.test(text) || undefined, bootMs)
  return { socket, text: () => text }
}

/** Its host dies: a connection of before goes on, and so does whoever is logged in, on the same files. */
async function outlivesItsHost(
  { host, addresses, name }: Vm,
  line: { readonly text: () => string; readonly stream: Duplex },
): Promise<void> {
  line.stream.write('echo kept > /root/kept; sync; echo syn"ced"\n')
  await lab.eventually('the file is written', async () => /^synced/m.test(line.text()) || undefined, bootMs)
  await cli.json('vm', 'protect', name)
  const { socket, text } = await sshConnection(addresses[0] ?? '')
  await lab.crash(host ?? '')
  const now = await lab.eventually('the VM on the other host', async () => {
    const vm = await cli.json<Vm>('vm', 'show', name)
    return (vm.state === 'running' && vm.host !== host && vm) || undefined
  })
  // Only who knows of this connection answers with the keys that it can exchange.
  socket.write('SSH-2.0-holdfast\r\n')
  await lab.eventually('the next word on that connection', async () => text().includes('kex') || undefined, bootMs)
  assert.equal(socket.readyState, 'open')
  socket.destroy()
  // The serial line goes along with it.
  line.stream.write('\necho "<$(cat /root/kept) $(systemctl is-system-running)"\n')
  await lab.eventually('the shell of before', async () => /^<kept /m.test(line.text()) || undefined, bootMs)
  assert.doesNotMatch(line.text(), /I\/O error|EXT4-fs error|Kernel panic/)
  assert.notEqual(now.host, host)
  await lab.heal()
  await lab.eventually('it is protected again', async () => {
    const vm = await cli.json<Vm>('vm', 'show', name)
    return (vm.protection.state === 'protected' && vm.operation === null) || undefined
  })
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
    if (firmware === 'uefi') await outlivesItsHost(await cli.json<Vm>('vm', 'show', firmware), { text, stream })
    await cli.json('vm', 'shutdown', firmware, '--guest-timeout', '600')
    const off = await cli.json<Vm>('vm', 'show', firmware)
    assert.deepEqual([off.state, off.run.cause], ['stopped', 'guest-shutdown'])
    stream.destroy()
    await cli.json('vm', 'delete', firmware, '--yes')
  })
}
