/**
 * A complete Debian (systemd, ssh, guest agent) from an imported disk image, through manager and agent, by BIOS and UEFI; the
 * one by UEFI is held in step on a second host while it writes to a database, and its host dies.
 */
import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import type { Duplex } from 'node:stream'
import { after, before, test } from 'node:test'
import type { Image, Vm } from '../../src/contracts/inventory.ts'
import { Cli } from '../support/cli.ts'
import { debianGuest, ssh, type DebianGuest } from '../support/debian.ts'
import { TestLab } from '../support/lab.ts'

/** Half a minute on a machine that does nothing else. */
const bootMs = 600_000
let lab: TestLab
let cli: Cli
let folder: string
let guest: DebianGuest

before(async () => {
  folder = mkdtempSync('/var/tmp/hfd')
  guest = await debianGuest()
  lab = await TestLab.open({ name: `pd${process.pid % 100_000}`, hosts: 2, hasGuest: false })
  cli = new Cli(lab, folder)
  const where = ['--file', guest.disk, '--datastore', 'shared', '--sha256', guest.sha256]
  await cli.json('image', 'import', 'debian', ...where)
  const image = (await cli.json<Image[]>('image', 'list')).find(({ name }) => name === 'debian')
  assert.deepEqual([image?.state, image?.format, image?.sha256], ['ready', 'qcow2', guest.sha256])
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

const insert = 'while :; do i=$((i+1)); echo "insert into ledger values($i, randomblob(500)); select $i;"; done'

/**
 * A database on the guest's disk that is written to over ssh, one transaction after the other, each made durable by SQLite
 * before its number is said.
 */
class Ledger implements Disposable {
  readonly #ssh: ChildProcess
  #said = ''
  #trouble = ''

  constructor(address: string) {
    const create = 'create table ledger(n integer primary key, content blob)'
    const command = `sqlite3 /root/ledger.db '${create}'; i=0; ${insert} | stdbuf -oL sqlite3 /root/ledger.db`
    this.#ssh = ssh(guest, address, command)
    this.#ssh.stdout?.on('data', (data: Buffer) => (this.#said += data.toString()))
    this.#ssh.stderr?.on('data', (data: Buffer) => (this.#trouble += data.toString()))
  }

  /** The numbers that were said: none lacks, and none comes twice, on one connection. */
  get acknowledged(): number {
    const numbers = this.#said.split('\n').slice(0, -1).map(Number)
    numbers.forEach((number, at) => assert.equal(number, at + 1))
    return numbers.length
  }

  async more(count: number): Promise<void> {
    const wanted = this.acknowledged + count
    const isThere = async (): Promise<true | undefined> => {
      assert.equal(this.#ssh.exitCode, null, this.#trouble)
      return this.acknowledged >= wanted || undefined
    }
    await lab.eventually(`${wanted} transactions`, isThere, bootMs)
  }

  [Symbol.dispose](): void {
    this.#ssh.kill('SIGKILL')
  }
}

/**
 * Its host dies: who is logged in stays so, over ssh and on the serial line; nothing that a database has acknowledged is
 * lost, and its memory is as it was.
 */
async function outlivesItsHost(
  { host, addresses, name }: Vm,
  line: { readonly text: () => string; readonly stream: Duplex },
): Promise<void> {
  const says = async (command: string, pattern: RegExp): Promise<string> => {
    const from = line.text().length
    line.stream.write(`${command}\n`)
    const said = (): string | undefined => pattern.exec(line.text().slice(from))?.[0]
    return await lab.eventually(`${String(pattern)} on the serial line`, async () => said(), bootMs)
  }
  const blob = '/dev/shm/blob'
  await says(
    `dd if=/dev/urandom of=${blob} bs=1M count=32 status=none; sha256sum ${blob} >/dev/shm/sum; echo "s"ummed`,
    /^summed/m,
  )
  await cli.json('vm', 'protect', name)
  using ledger = new Ledger(addresses[0] ?? '')
  await ledger.more(20)
  await lab.crash(host ?? '')
  const now = await lab.eventually('the VM on the other host', async () => {
    const vm = await cli.json<Vm>('vm', 'show', name)
    return (vm.state === 'running' && vm.host !== host && vm) || undefined
  })
  assert.notEqual(now.host, host)
  await ledger.more(20)
  const { acknowledged } = ledger
  ledger[Symbol.dispose]()
  await says('until ! pidof sqlite3; do sleep 1; done; echo "o"ver', /^over/m)
  const counts = 'select count(*), max(n) from ledger'
  const row = await says(
    `sqlite3 /root/ledger.db 'pragma integrity_check' '${counts}'; echo "d"one`,
    /^ok[\s\S]*^done/m,
  )
  const [, count, most] = (/(\d+)\|(\d+)/.exec(row) ?? []).map(Number)
  assert.ok(count === most && (count ?? 0) >= acknowledged, `${row} after ${acknowledged} were acknowledged`)
  await says('sha256sum -c /dev/shm/sum; echo "c"hecked', /^\/dev\/shm\/blob: OK[\s\S]*^checked/m)
  assert.doesNotMatch(line.text(), /I\/O error|EXT4-fs error|Kernel panic/)
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
