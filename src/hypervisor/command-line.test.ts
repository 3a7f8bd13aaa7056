import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { qemuArguments } from './command-line.ts'
import type { MachineConfig } from './hypervisor.ts'
import { launchOf } from './launch.ts'
import { aMachine } from './machine-fixture.ts'

const small = aMachine

const large: MachineConfig = {
  ...small,
  name: 'vm-2',
  machineType: 'pc-q35-7.2',
  machine: 'q35',
  accelerator: 'kvm',
  cpuModel: 'Westmere',
  cpuFeatures: ['+aes', '-vmx'],
  vcpus: 4,
  memoryMiB: 4096,
  firmware: { kind: 'uefi', nvramPath: '/ds/nvram', key: 9 },
  video: 'std',
  disks: [
    { key: 1, path: '/ds/a,b.qcow2', format: 'qcow2', bus: 'virtio', slot: '3', cache: 'none' },
    { key: 7, path: '/ds/old.raw', format: 'raw', bus: 'ide', slot: null, cache: 'writeback' },
  ],
  nics: [
    { key: 2, model: 'virtio', mac: '52:54:00:00:00:02', slot: '4', tap: 'tap2' },
    { key: 3, model: 'e1000', mac: '52:54:00:00:00:03', slot: '5.1', tap: 'tap3' },
  ],
  cdroms: [
    { key: 5, path: '/ds/x.iso', format: 'raw' },
    { key: 6, path: null, format: 'raw' },
  ],
  kernelBoot: null,
  runAs: { uid: 64055, gid: 64055 },
  cgroup: '/sys/fs/cgroup/holdfast/vm-2',
  tlsDirectory: '/etc/holdfast/tls',
}

/**
 * These lines are part of every guest's machine. A change here is a change of running guests' hardware: it must only add
 * lines under new conditions. `UPDATE_GOLDEN=1 node --test …` writes the file anew.
 */
test('the command lines are those of the golden file', () => {
  const path = join(import.meta.dirname, 'command-line.golden.txt')
  const text = [
    ...['# a small pc, direct kernel boot', ...qemuArguments(small, 'prelaunch'), ''],
    ...['# a large q35, UEFI, incoming', ...qemuArguments(large, 'incoming'), ''],
    '',
  ].join('\n')
  if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(path, text)
  assert.equal(text, readFileSync(path, 'utf8'))
})

test('how virtio can be driven changes nothing else of a machine', () => {
  const plain = qemuArguments(large, 'prelaunch')
  const legacyIn = (virtio: 'transitional' | 'legacy'): string[] => {
    const args = qemuArguments({ ...large, virtio }, 'prelaunch')
    assert.deepEqual(
      args.map((arg) => arg.replace(',disable-modern=on', '')),
      plain,
    )
    return args.filter((arg) => arg.includes('disable-modern')).map((arg) => arg.split(',')[0] ?? '')
  }
  assert.deepEqual(legacyIn('transitional'), ['virtio-rng-pci', 'virtio-serial-pci'])
  assert.deepEqual(legacyIn('legacy'), ['virtio-rng-pci', 'virtio-serial-pci', 'virtio-blk-pci', 'virtio-net-pci'])
})

test('no device is implicit and no vCPU runs by itself', () => {
  for (const config of [small, large]) {
    const args = qemuArguments(config, 'prelaunch')
    for (const needed of ['-nodefaults', '-no-user-config', '-S', '-sandbox']) assert.ok(args.includes(needed), needed)
    assert.ok(!args.includes('-incoming'))
  }
})

test('more IDE devices than there are places are refused; a virtio disk needs its slot', () => {
  const ide = [1, 2, 3, 4, 5].map(
    (key) => ({ key, path: `/d${key}`, format: 'raw', bus: 'ide', slot: null, cache: 'writeback' }) as const,
  )
  assert.throws(() => qemuArguments({ ...small, disks: ide }, 'prelaunch'), { code: 'refused' })
  assert.throws(() => qemuArguments({ ...small, disks: [{ ...ide[0]!, bus: 'virtio' }] }, 'prelaunch'), {
    code: 'refused',
  })
})

test('IDE places follow the keys', () => {
  const ide = [8, 2].map(
    (key) => ({ key, path: `/d${key}`, format: 'raw', bus: 'ide', slot: null, cache: 'writeback' }) as const,
  )
  const places = qemuArguments(
    { ...small, disks: ide, cdroms: [{ key: 5, path: null, format: 'raw' }] },
    'prelaunch',
  ).filter((arg) => arg.startsWith('ide-'))
  assert.deepEqual(
    places.map((arg) => /id=([a-z0-9-]+),.*bus=(ide\.[01],unit=[01])/.exec(arg)?.slice(1)),
    [
      ['disk-8', 'ide.1,unit=0'],
      ['disk-2', 'ide.0,unit=0'],
      ['cdrom-5', 'ide.0,unit=1'],
    ],
  )
})

test('QEMU joins its cgroup and has its permit before it is QEMU, and drops everything before it starts', () => {
  const { args: plain } = launchOf('qemu', small, ['-S'], '/run/a/permit-1')
  assert.deepEqual(plain.slice(2), ['sh', '/run/a/permit-1', 'qemu', '-S'])
  const { command, args } = launchOf('qemu', large, ['-S'], '/run/a/permit-1')
  assert.equal(command, 'sh')
  assert.deepEqual(args.slice(2), [
    'sh',
    '/run/a/permit-1',
    '/sys/fs/cgroup/holdfast/vm-2',
    'setpriv',
    '--reuid',
    '64055',
    '--regid',
    '64055',
    '--groups',
    'kvm',
    '--bounding-set=-all',
    '--inh-caps=-all',
    '--no-new-privs',
    '--',
    'qemu',
    '-S',
  ])
  assert.match(args[1] ?? '', /cgroup\.procs.*exec/)
})
