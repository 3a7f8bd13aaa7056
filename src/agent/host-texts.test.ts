import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { cgroup2Mount, cgroup2Path } from './cgroups.ts'
import { cpuFacts, meminfoKiB } from './facts.ts'
import { describe as describeProcess } from './foreign-vms.ts'
import { cpuTime } from './load.ts'
import { planUplink, uplinkBridge } from './network-plan.ts'

describe('what /proc tells', () => {
  test('processors, model and flags', () => {
    const text =
      'processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu vme\n\nprocessor\t: 1\nmodel name\t: Some CPU\n'
    assert.deepEqual(cpuFacts(text), { model: 'Some CPU', cores: 2, flags: ['fpu', 'vme'] })
    assert.equal(meminfoKiB('MemTotal:       2048 kB\nMemFree: 1 kB\n', 'MemTotal'), 2048)
  })

  test('busy time is all but idle and waiting for disks', () => {
    assert.deepEqual(cpuTime('cpu  10 0 20 60 10 0 0 0 0 0\ncpu0 1 1 1 1\n'), { total: 100, busy: 30 })
  })

  test('the cgroup v2 tree is found beside the old ones', () => {
    const mounts = 'tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n'
    assert.equal(cgroup2Mount(mounts), '/sys/fs/cgroup/unified')
    assert.equal(cgroup2Path('12:memory:/x\n0::/system.slice/a.service\n'), '/system.slice/a.service')
  })
})

describe('QEMUs of others', () => {
  const foreign = (line: string): unknown => describeProcess(7, line.split(' '), '/run/holdfast/vms')

  test('are told by their owner and name; ours are not listed', () => {
    assert.deepEqual(
      foreign('/usr/bin/qemu-system-x86_64 -name guest=web,debug-threads=on -chardev x,path=/var/lib/libvirt/y'),
      { owner: 'libvirt', name: 'web', pid: 7 },
    )
    assert.deepEqual(foreign('/usr/bin/kvm -id 100 -name db,debug-threads=on -pidfile /var/run/qemu-server/100.pid'), {
      ...{ owner: 'proxmox', name: 'db', pid: 7 },
    })
    assert.equal(foreign('qemu-system-x86_64 -name vm-1 -qmp unix:/run/holdfast/vms/vm-1/q/qmp'), undefined)
    assert.equal(foreign('qemu-system-x86_64 -name guest=vm-1,process=holdfast-vm-1,debug-threads=on -S'), undefined)
    assert.equal(foreign('qemu-system-x86_64 -machine none,accel=tcg -qmp unix:/var/lib/libvirt/qmp'), undefined)
    assert.equal(foreign('qemu-system-x86_64 -machine pc,accel=tcg -S -qmp stdio'), undefined)
    assert.deepEqual(foreign('qemu-system-x86_64 -name guest=a,,b,debug-threads=on'), {
      ...{ owner: 'unknown', name: 'a,b', pid: 7 },
    })
    assert.equal(foreign('/usr/sbin/sshd -D'), undefined)
  })
})

describe('the plan for an uplink', () => {
  const address = { family: 'inet', local: '192.0.2.5', prefixlen: 24, scope: 'global' }
  const eth0 = { ifname: 'eth0', address: '52:54:00:00:00:05', mtu: 1500, addr_info: [address] }
  const routes = [
    { dst: 'default', gateway: '192.0.2.1', dev: 'eth0' },
    { dst: '192.0.2.0/24', dev: 'eth0', protocol: 'kernel' },
  ]

  test('moves addresses and routes to the bridge, and back', () => {
    const plan = planUplink([eth0], routes, 'eth0')
    assert.equal(plan.summary.length, 3)
    assert.ok(plan.apply.includes(`address add 192.0.2.5/24 dev ${uplinkBridge}`))
    assert.ok(plan.apply.at(-1)?.startsWith(`route replace default via 192.0.2.1 dev ${uplinkBridge}`))
    assert.deepEqual(plan.undo, [
      `link del ${uplinkBridge}`,
      'address replace 192.0.2.5/24 dev eth0',
      'route replace default via 192.0.2.1 dev eth0',
    ])
  })

  test('is empty where it was carried out, and refused for a port of another bridge', () => {
    assert.deepEqual(planUplink([{ ...eth0, master: uplinkBridge }], [], 'eth0').apply, [])
    assert.throws(() => planUplink([{ ...eth0, master: 'vmbr0' }], [], 'eth0'), { code: 'refused' })
    assert.throws(() => planUplink([eth0], [], 'eth1'), { code: 'not-found' })
  })
})
