/**
 * libvirt's own `virsh migrate --live` between two libvirtd, one in each of the lab's hosts, with folders of their own
 * mounted over libvirt's. The guest has the same machine, memory, kernel, bridge and VXLAN as the others.
 */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { copyFile, mkdir, rm, writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { ProcessId } from '../../src/base/processes.ts'
import { makeAuthority, makeHost } from '../../test/qemu/hypervisor-certificates.ts'
import { setAddress } from './bare-lane.ts'
import type { BenchLab } from './bench-lab.ts'
import { laneOf, type BenchGuest, type Lane, type Moved } from './lane.ts'

const run = promisify(execFile)
const number = 241
const mac = '52:54:00:be:ac:02'
const programs = ['/usr/sbin/libvirtd', '/usr/bin/virsh']

/** Why libvirt cannot take part; undefined when it can. */
export function libvirtAbsent(): string | undefined {
  return programs.every((path) => existsSync(path))
    ? undefined
    : 'libvirt is not installed (libvirt-daemon, libvirt-daemon-driver-qemu, libvirt-clients, libvirt-daemon-system)'
}

export interface LibvirtOptions {
  readonly lab: BenchLab
  readonly folder: string
  readonly kernel: string
  readonly initrd: string
  readonly cmdline: string
  readonly machineType: string
  readonly cpu: { readonly model: string; readonly features: readonly string[] }
  readonly memoryMiB: number
}

/** A guest under libvirt. `lane` gives the ways in which it is moved. */
export class LibvirtGuest implements BenchGuest, AsyncDisposable {
  readonly address: string
  readonly mac = mac
  readonly #options: LibvirtOptions
  readonly #daemons: ProcessId[] = []
  #host: string

  private constructor(options: LibvirtOptions, host: string) {
    this.#options = options
    this.#host = host
    this.address = options.lab.guestAddress(number).address
  }

  static async open(options: LibvirtOptions, host: string): Promise<LibvirtGuest> {
    const { folder, lab } = options
    const guest = new LibvirtGuest(options, host)
    try {
      await mkdir(folder, { recursive: true, mode: 0o755 })
      makeAuthority(folder)
      for (const name of ['host1', 'host2']) await guest.#startDaemon(name)
      await copyFile(options.kernel, `${folder}/vmlinuz`)
      await copyFile(options.initrd, `${folder}/initrd.gz`)
      await writeFile(`${folder}/guest.xml`, domain(options))
      await guest.#virsh(host, ['create', `${folder}/guest.xml`])
      const { address, prefix, gateway } = lab.guestAddress(number)
      await setAddress(`${folder}/serial`, `${address}/${prefix}`, gateway)
      return guest
    } catch (thrown) {
      await guest[Symbol.asyncDispose]()
      throw thrown
    }
  }

  lane(name: string, tls: boolean): Lane {
    return laneOf(name, this, () => this.move(tls))
  }

  get host(): string {
    return this.#host
  }

  async move(tls: boolean): Promise<Moved> {
    const { lab } = this.#options
    const source = this.#host
    const target = lab.other(source)
    const address = lab.address(target, 'storage')
    const started = performance.now()
    const safe = tls ? ['--tls', '--tls-destination', target] : []
    const to = [`qemu+tcp://${address}/system`, `tcp://${address}:49300`]
    await this.#virsh(source, ['migrate', '--live', ...safe, 'bench', ...to])
    const wholeMs = performance.now() - started
    this.#host = target
    return { source, target, wholeMs, memoryMs: null, stopAt: null, resumeAt: null }
  }

  async #virsh(host: string, args: readonly string[]): Promise<void> {
    const { lab, folder } = this.#options
    const uri = `qemu+unix:///system?socket=${folder}/${host}-libvirt/run/libvirt-sock`
    const [command = '', ...prefix] = lab.netPrefix(host)
    await run(command, [...prefix, 'virsh', '-q', '-c', uri, ...args], { timeout: 60_000 })
  }

  async #startDaemon(host: string): Promise<void> {
    const { lab, folder } = this.#options
    const own = `${folder}/${host}-libvirt`
    const inner = { run: '/run/libvirt', lib: '/var/lib/libvirt', cache: '/var/cache/libvirt', log: '/var/log/libvirt' }
    const places: Record<string, string> = { ...inner, etc: '/etc/libvirt' }
    for (const name of Object.keys(places)) await mkdir(`${own}/${name}`, { recursive: true, mode: 0o755 })
    const tls = makeHost(folder, host)
    await writeFile(`${own}/etc/libvirtd.conf`, daemonSettings(host))
    await writeFile(`${own}/etc/qemu.conf`, qemuSettings(tls))
    const mounts = Object.entries(places).map(
      ([name, path]) => `mkdir -p ${path} && mount --bind ${own}/${name} ${path}`,
    )
    const script = `${mounts.join(' && ')} && exec libvirtd --listen -p /run/libvirt/libvirtd.pid`
    const argv = await lab.lab.lab.inside(host, ['unshare', '-m', 'sh', '-c', script])
    const [command = '', ...args] = argv
    const options = { logFile: `${own}/libvirtd.log`, cwd: '/' }
    this.#daemons.push(await lab.lab.ports.processes.startDetached(command, args, options))
    for (let tries = 0; !existsSync(`${own}/run/libvirt-sock`); tries++) {
      if (tries > 200) throw new Error(`libvirtd does not start: see ${own}/libvirtd.log`)
      await sleep(50)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { lab, folder } = this.#options
    await this.#virsh(this.#host, ['destroy', 'bench']).catch(() => undefined)
    for (const daemon of this.#daemons) {
      await lab.lab.ports.processes.signal(daemon, 'SIGTERM')
      await lab.lab.ports.processes.waitGone(daemon, AbortSignal.timeout(20_000)).catch(() => undefined)
    }
    await rm(folder, { recursive: true, force: true })
  }
}

function daemonSettings(host: string): string {
  return [
    `host_uuid = "0be0ac02-0000-4000-8000-00000000000${host.slice(-1)}"`,
    'listen_tls = 0',
    'listen_tcp = 1',
    'auth_tcp = "none"',
    'listen_addr = "0.0.0.0"',
    'unix_sock_dir = "/run/libvirt"',
    'auth_unix_rw = "none"',
    '',
  ].join('\n')
}

function qemuSettings(tls: string): string {
  return [
    'user = "root"',
    'group = "root"',
    'security_driver = "none"',
    'cgroup_controllers = []',
    'stdio_handler = "file"',
    'remember_owner = 0',
    `migrate_tls_x509_cert_dir = "${tls}"`,
    'migrate_tls_x509_verify = 1',
    '',
  ].join('\n')
}

function domain({ lab, folder, cmdline, machineType, cpu, memoryMiB }: LibvirtOptions): string {
  const features = cpu.features.map((feature) => {
    const policy = feature.startsWith('-') ? 'disable' : 'require'
    return `<feature policy='${policy}' name='${feature.slice(1)}'/>`
  })
  return `<domain type='qemu'>
  <name>bench</name>
  <uuid>0be0ac02-0000-4000-8000-000000000009</uuid>
  <memory unit='MiB'>${memoryMiB}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='${machineType}'>hvm</type>
    <kernel>${folder}/vmlinuz</kernel>
    <initrd>${folder}/initrd.gz</initrd>
    <cmdline>${cmdline}</cmdline>
  </os>
  <features><acpi/><apic/></features>
  <cpu mode='custom' match='exact' check='none'><model fallback='forbid'>${cpu.model}</model>${features.join('')}</cpu>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <controller type='usb' model='none'/>
    <interface type='bridge'>
      <mac address='${mac}'/><source bridge='${lab.bridge}'/><target dev='libvirt0'/>
      <model type='virtio'/><driver name='qemu'/><rom enabled='no'/>
    </interface>
    <serial type='unix'><source mode='bind' path='${folder}/serial'/><target port='0'/></serial>
    <console type='unix'><source mode='bind' path='${folder}/serial'/><target type='serial' port='0'/></console>
    <video><model type='vga'/></video>
    <memballoon model='none'/>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
  </devices>
</domain>
`
}
