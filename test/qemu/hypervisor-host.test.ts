/** What ties a machine to its host: its user, its cgroup, its taps. Needs root. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, readlinkSync, rmdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { deps, eventually, TestHost } from './hypervisor-guest.ts'
import { qemuDiskImages } from '../../src/hypervisor/qemu-img.ts'

const ip = (...args: string[]): void => void execFileSync('ip', args, { stdio: 'pipe' })
const unprivileged = 64321
const MiB = 1024 * 1024

/** The cgroup v2 hierarchy, wherever it is mounted. */
function cgroupRoot(): string {
  const row = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .find((line) => line.split(' ')[2] === 'cgroup2')
  return row?.split(' ')[1] ?? ''
}

test('QEMU has its own user and cgroup, no capability, a filter on system calls, and its taps by inheritance', async () => {
  await using stack = new AsyncDisposableStack()
  const taps = ['hvtapa', 'hvtapb']
  for (const tap of taps) {
    ip('tuntap', 'add', tap, 'mode', 'tap', 'vnet_hdr')
    stack.defer(() => ip('link', 'del', tap))
    ip('link', 'set', tap, 'up')
  }
  ip('addr', 'add', '10.213.77.1/30', 'dev', 'hvtapa')
  const cgroup = join(cgroupRoot(), `holdfast-hv-test-${process.pid}`)
  mkdirSync(cgroup)
  stack.defer(async () => {
    await eventually('an empty cgroup', () => (tryRemove(cgroup) ? true : undefined))
  })
  const host = stack.use(await TestHost.open())
  chmodSync(host.folder, 0o711)
  const disk = join(host.folder, 'd.qcow2')
  await qemuDiskImages(deps).create(disk, 'qcow2', 8 * MiB)
  chownSync(disk, unprivileged, unprivileged)
  const { machine, serial } = await host.boot(
    await host.config('a', {
      runAs: { uid: unprivileged, gid: unprivileged },
      cgroup,
      video: 'std',
      disks: [{ key: 1, path: disk, format: 'qcow2', bus: 'virtio', slot: '3', cache: 'none' }],
      nics: [
        { key: 2, model: 'virtio', mac: '52:54:00:77:00:02', slot: '4', tap: 'hvtapa' },
        { key: 3, model: 'e1000', mac: '52:54:00:77:00:03', slot: '5', tap: 'hvtapb' },
      ],
    }),
  )
  const status = readFileSync(`/proc/${machine.pid}/status`, 'utf8')
  assert.match(status, new RegExp(`^Uid:\\t${unprivileged}\\t${unprivileged}\\t`, 'm'))
  assert.match(status, /^Groups:\s*$/m)
  for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
    assert.match(status, new RegExp(`^${set}:\\t0+$`, 'm'))
  assert.match(status, /^NoNewPrivs:\t1$/m)
  assert.match(status, /^Seccomp:\t2$/m)
  assert.deepEqual(readFileSync(join(cgroup, 'cgroup.procs'), 'utf8').trim().split('\n'), [String(machine.pid)])
  assert.match(readlinkSync(`/proc/${machine.pid}/fd/3`), /tun/)

  // What the agent trusts, QEMU cannot write.
  const folder = join(host.folder, 'a')
  assert.equal(statSync(join(folder, 'machine.json')).uid, 0)
  assert.equal(statSync(join(folder, 'q')).uid, unprivileged)
  assert.equal(statSync(folder).uid, 0)

  const links = await serial.command('ip -o link')
  assert.match(links, /52:54:00:77:00:02/)
  await serial.command('ip addr add 10.213.77.2/30 dev eth0; ip link set eth0 up')
  assert.match(await serial.command('ping -c 2 -W 5 10.213.77.1'), / [12] packets received/)
  assert.match(await serial.command('disk write /dev/vda 100 1; disk verify /dev/vda 100 1'), /good 100/)
  assert.ok((await machine.screenshot()).length > 100)
  await machine.quit()
  assert.ok(!existsSync(join(folder, 'q/screen.ppm')))
})

test('a tap that is not there is refused, and none is made', async () => {
  await using host = await TestHost.open()
  const config = await host.config('a', {
    kernelBoot: null,
    nics: [{ key: 2, model: 'virtio', mac: '52:54:00:77:00:02', slot: '4', tap: 'hvnone' }],
  })
  await assert.rejects(host.hypervisor.start(config, 'prelaunch'), { code: 'not-found' })
  assert.ok(!existsSync('/sys/class/net/hvnone'))
})

test('UEFI keeps its variables in its own disk, and a CD-ROM is changed while the guest runs', async () => {
  await using host = await TestHost.open()
  const nvramPath = join(host.folder, 'nvram')
  execFileSync('cp', ['/usr/share/OVMF/OVMF_VARS_4M.fd', nvramPath])
  const images = qemuDiskImages(deps)
  const iso = join(host.folder, 'one.iso')
  await images.create(iso, 'raw', 4 * MiB)
  const config = await host.config('u', {
    machine: 'q35',
    machineType: 'pc-q35-7.2',
    firmware: { kind: 'uefi', nvramPath, key: 9 },
    cdroms: [
      { key: 4, path: iso, format: 'raw' },
      { key: 5, path: null, format: 'raw' },
    ],
    memoryMiB: 160,
  })
  const { machine, serial } = await host.boot(config)
  assert.match(await serial.command('ls -d /sys/firmware/efi'), /efi/)
  const other = join(host.folder, 'two.iso')
  await images.create(other, 'raw', 6 * MiB)
  await machine.changeCdrom(5, { path: other, format: 'raw' })
  await machine.changeCdrom(4, null)
  await machine.changeCdrom(4, { path: other, format: 'raw' })
  await machine.changeCdrom(5, null)
  // The first disc is let go: it may be changed now.
  await images.grow(iso, 'raw', 5 * MiB)
})

function tryRemove(folder: string): boolean {
  try {
    rmdirSync(folder)
    return true
  } catch {
    return false
  }
}
