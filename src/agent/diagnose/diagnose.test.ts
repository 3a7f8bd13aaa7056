import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Files } from '../../base/files.ts'
import { nodeClock } from '../../base/node/index.ts'
import type { Processes, RunResult } from '../../base/processes.ts'
import { diagnose, type DiagnoseSettings } from './diagnose.ts'
import type { Finding } from './finding.ts'
import { listeningPorts, shellValues } from './system-checks.ts'

const healthy: Record<string, string> = {
  '/etc/os-release': 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n',
  '/proc/meminfo': 'MemTotal:        8000000 kB\nMemAvailable:    6000000 kB\n',
  '/proc/self/mounts': 'cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n',
  '/proc/net/tcp': '',
  '/proc/net/tcp6': '',
}

interface Machine {
  readonly files?: Record<string, string>
  readonly folders?: Record<string, string[]>
  readonly freeBytes?: number
  readonly run?: (command: string, args: readonly string[]) => Partial<RunResult> | undefined
}

function missing(path: string): Error {
  return Object.assign(new Error(`ENOENT: ${path}`), { code: 'ENOENT' })
}

async function findingsOf(machine: Machine, settings: Partial<DiagnoseSettings> = {}): Promise<Map<string, Finding>> {
  const texts = { ...healthy, ...machine.files }
  const folders: Record<string, string[]> = { '/proc/self/ns': ['net', 'mnt', 'pid', 'uts', 'ipc'], '/proc': [] }
  Object.assign(folders, machine.folders)
  const files: Pick<Files, 'readText' | 'list' | 'stat' | 'space'> = {
    readText: async (path) => texts[path] ?? Promise.reject(missing(path)),
    list: async (path) => folders[path] ?? Promise.reject(missing(path)),
    stat: async (path) => (path === '/' || path in texts ? ({ kind: 'file' } as never) : undefined),
    space: async () => ({ totalBytes: 2 ** 40, freeBytes: machine.freeBytes ?? 2 ** 38 }),
  }
  const run: Processes['run'] = async (command, args) => {
    const usual = { uname: 'x86_64\n', timedatectl: 'yes\n', '/opt/holdfast/libexec/install-packages.sh': '[]' }[
      command
    ]
    return { code: 0, stdout: usual ?? '', stderr: '', ...machine.run?.(command, args) }
  }
  const findings = await diagnose(
    { clock: nodeClock(), files: files as Files, processes: { run } as Processes },
    {
      role: 'agent',
      isRoot: true,
      programFolder: '/opt/holdfast',
      dataFolder: '/var/lib/holdfast',
      ports: [{ port: 7444, use: 'agent' }],
      accelerator: async () => ({ version: '10.0.2', accelerator: { kind: 'kvm', reason: 'the probe ran' } }),
      ...settings,
    },
  )
  return new Map(findings.map((finding) => [finding.id, finding]))
}

test('on a healthy machine every check is ok and nothing has to be mended', async () => {
  const findings = await findingsOf({})
  for (const finding of findings.values())
    assert.deepEqual([finding.verdict, finding.mend], ['ok', undefined], finding.id)
  assert.ok(findings.size >= 15)
})

test('what is wrong says how to mend it', async () => {
  const listener = '  0: 00000000:1D14 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1\n'
  const findings = await findingsOf(
    {
      freeBytes: 2 ** 20,
      files: { '/etc/os-release': 'ID=fedora\nPRETTY_NAME="Fedora"\n', '/proc/net/tcp': listener },
      run: (command, args) => {
        if (command === 'unshare' && args.join(' ').includes('type vlan'))
          return { code: 2, stderr: 'Unknown device type.' }
        if (command === 'unshare' && args.join(' ').includes('type vxlan')) return { code: 2, stderr: 'no' }
        if (!command.endsWith('install-packages.sh')) return undefined
        return { stdout: '[{"package":"nftables","reason":"drops frames","installed":false}]' }
      },
    },
    { accelerator: async () => ({ version: '7.2', accelerator: { kind: 'tcg', reason: 'no /dev/kvm' } }) },
  )
  const verdicts = { 'disk-space': 'error', system: 'warning', ports: 'warning', packages: 'error', kvm: 'warning' }
  for (const [id, verdict] of Object.entries({ ...verdicts, vlan: 'warning', vxlan: 'error' })) {
    assert.equal(findings.get(id)?.verdict, verdict, id)
    assert.ok(findings.get(id)?.mend, id)
  }
  assert.match(findings.get('packages')?.detail ?? '', /nftables \(drops frames\)/)
})

test('QEMU that does not answer is an error, and the other checks go on', async () => {
  const findings = await findingsOf({}, { accelerator: () => Promise.reject(new Error('cannot be started')) })
  assert.equal(findings.get('kvm')?.verdict, 'error')
  assert.equal(findings.get('nftables')?.verdict, 'ok')
})

test('a check that breaks is a finding of its own', async () => {
  const findings = await findingsOf({ files: { '/proc/meminfo': undefined as never } })
  assert.equal(findings.get('memory')?.verdict, 'warning')
  assert.match(findings.get('memory')?.detail ?? '', /could not be looked at/)
})

test('without root nothing is tried, and that is said', async () => {
  const findings = await findingsOf({}, { isRoot: false })
  assert.equal(findings.get('vxlan')?.detail, 'not tried')
})

test('what a killed lab left is found, a living lab is none of it', async () => {
  const folders = {
    '/run/netns': ['hf-lab-sw', 'hf-old-host1', 'mine'],
    '/sys/fs/cgroup': ['holdfast-lab-lab'],
    '/proc': ['77'],
  }
  const files = {
    '/run/holdfast/labs/lab': '/var/lib/holdfast/labs/lab\n',
    '/proc/77/cmdline': 'node\0main.ts\0internal\0labd\0lab\0/var\0',
  }
  const finding = (await findingsOf({ folders, files })).get('leftovers')
  assert.equal(finding?.detail, 'of old')
  assert.equal(finding.mend, 'Run `sudo holdfast lab down --name old`.')
})

test('VMs of others are listed and left alone', async () => {
  const files = {
    '/proc/9/cmdline': '/usr/bin/qemu-system-x86_64\0-name\0guest=desk,debug-threads=on\0/var/lib/libvirt/x',
  }
  const finding = (await findingsOf({ folders: { '/proc': ['9'] }, files })).get('foreign-vms')
  assert.deepEqual([finding?.verdict, finding?.detail], ['ok', 'desk (libvirt, pid 9): left alone'])
})

test('a manager needs nothing that runs guests', async () => {
  const findings = await findingsOf({}, { role: 'manager' })
  assert.ok(!findings.has('kvm') && !findings.has('vxlan'))
})

test('os-release and /proc/net/tcp are read as they are written', () => {
  assert.equal(shellValues("A='x y'\nB=z\n# c\n").get('A'), 'x y')
  const text = '  sl  local_address\n   0: 0100007F:1D13 00000000:0000 0A 0\n   1: 0100007F:0050 0100007F:9999 01 0\n'
  assert.deepEqual([...listeningPorts(text)], [7443])
})
