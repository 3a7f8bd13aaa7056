/**
 * MachineConfig → the arguments of QEMU. Pure and complete: `-nodefaults -no-user-config`, so that nothing of the host or
 * of QEMU's version gets into the guest's machine. The order and the addresses here are part of every guest's machine:
 * a change alters what a running guest cannot follow, so existing lines only ever gain conditions.
 *
 * Fixed places on the root bus: 2 the screen, 1c the channels to the guest agent, 1d the random source; 1 (pc) and
 * 1f (q35) belong to the chipset. The spec places disks and NICs elsewhere.
 */
import { HoldfastError } from '../base/errors.ts'
import type { MachineConfig, MachineDisk, MachineNic } from './hypervisor.ts'
import { runPaths } from './run-directory.ts'

export interface FirmwareFiles {
  /** Read-only UEFI code: OVMF_CODE_4M.fd. */
  readonly uefiCode: string
}

export const videoSlot = '2'
export const channelSlot = '1c'
export const randomSlot = '1d'

/** Debian's place. */
export const debianFirmware: FirmwareFiles = { uefiCode: '/usr/share/OVMF/OVMF_CODE_4M.fd' }

const legacyOnly = ',disable-modern=on'

/** First file descriptor that is inherited; NICs take theirs in the order of the spec. */
const firstTapFd = 3

export function qemuArguments(
  config: MachineConfig,
  mode: 'prelaunch' | 'incoming',
  firmware: FirmwareFiles = debianFirmware,
): string[] {
  return [
    ...process(config, mode),
    ...machine(config),
    ...controls(config),
    ...boot(config, firmware),
    ...screen(config),
    ...guestChannels(config),
    ...config.disks.flatMap((disk, at) => diskArguments(config, disk, at)),
    ...cdroms(config),
    ...config.nics.flatMap((nic, at) => nicArguments(config, nic, at)),
  ]
}

function process(config: MachineConfig, mode: 'prelaunch' | 'incoming'): string[] {
  return [
    ...['-name', `guest=${comma(config.name)},process=holdfast-${comma(config.name)},debug-threads=on`],
    '-nodefaults',
    '-no-user-config',
    ...['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    // No vCPU ever runs by itself: an incoming guest is let go by `cont` too (see incoming.ts).
    '-S',
    ...(mode === 'incoming' ? ['-incoming', 'defer'] : []),
    ...['-msg', 'timestamp=on'],
    ...['-display', 'none'],
    // The agent decides what becomes of a guest that has shut down or panicked.
    ...['-action', 'shutdown=pause,panic=pause,reboot=reset'],
  ]
}

function machine(config: MachineConfig): string[] {
  const features = config.cpuFeatures.map((feature) => `,${feature}`).join('')
  return [
    // Without the description the last byte of a migration is one that the target cannot do without, so a source whose
    // stream broke knows that the target is incomplete (outgoing.ts rests on it).
    ...[
      '-machine',
      `${config.machineType},accel=${config.accelerator},suppress-vmdesc=on,memory-backend=ram,dump-guest-core=off,vmport=off,usb=off`,
    ],
    ...[
      '-object',
      json({
        'qom-type': 'memory-backend-ram',
        id: 'ram',
        size: config.memoryMiB * 1024 * 1024,
        share: false,
        merge: true,
        dump: false,
      }),
    ],
    ...['-m', `size=${config.memoryMiB}M`],
    ...['-cpu', `${config.cpuModel}${features},enforce`],
    ...['-smp', `cpus=${config.vcpus},sockets=1,cores=${config.vcpus},threads=1`],
    ...['-uuid', config.uuid],
    ...['-rtc', 'base=utc,clock=host,driftfix=slew'],
    ...['-boot', 'menu=off,strict=on'],
  ]
}

/** The argument that names a machine's control socket: no other process of this host has it. */
export function controlChardev(runDirectory: string): string {
  return socketChardev('qmp', runPaths(runDirectory).qmp)
}

function socketChardev(id: string, path: string): string {
  return `socket,id=${id},path=${comma(path)},server=on,wait=off`
}

function controls(config: MachineConfig): string[] {
  const paths = runPaths(config.runDirectory)
  const socket = (id: string, path: string, more = ''): string[] => ['-chardev', socketChardev(id, path) + more]
  return [
    ...socket('qmp', paths.qmp),
    ...['-mon', 'chardev=qmp,mode=control'],
    ...socket('qmp-spare', paths.qmpSpare),
    ...['-mon', 'chardev=qmp-spare,mode=control'],
    ...socket('qmp-pump', paths.qmpPump),
    ...['-mon', 'chardev=qmp-pump,mode=control'],
    ...socket('serial', paths.serial, `,logfile=${comma(paths.serialLog)},logappend=on`),
    ...['-device', 'isa-serial,chardev=serial,id=serial'],
    ...['-device', 'pvpanic,id=panic'],
  ]
}

function boot(config: MachineConfig, firmware: FirmwareFiles): string[] {
  const kernel = config.kernelBoot
  return [
    ...(config.firmware.kind === 'bios'
      ? []
      : [
          ...[
            '-blockdev',
            json({
              driver: 'raw',
              'node-name': 'firmware-code',
              'read-only': true,
              file: { driver: 'file', filename: firmware.uefiCode },
            }),
          ],
          ...['-blockdev', blockdev(diskNode(config.firmware.key), config.firmware.nvramPath, 'raw', 'writeback')],
          ...['-machine', `pflash0=firmware-code,pflash1=${diskNode(config.firmware.key)}`],
        ]),
    ...(kernel === null
      ? []
      : [
          '-kernel',
          kernel.kernel,
          ...(kernel.initrd === null ? [] : ['-initrd', kernel.initrd]),
          '-append',
          kernel.cmdline,
        ]),
  ]
}

function screen(config: MachineConfig): string[] {
  if (config.video === 'none') return []
  return [
    '-device',
    `VGA,id=video,bus=${rootBus(config)},addr=${videoSlot}`,
    '-vnc',
    `unix:${runPaths(config.runDirectory).vnc}`,
  ]
}

/**
 * Without ioeventfd, which the guest does not see: these speak seldom, and each stop and each start of the guest would make
 * and end the descriptors of all of their queues, 64 for the channels alone.
 */
function guestChannels(config: MachineConfig): string[] {
  const paths = runPaths(config.runDirectory)
  // Guests that know virtio 1.0 alone are rare, and boot and work without these two.
  const kind = config.virtio === undefined ? '' : legacyOnly
  const place = (slot: string): string => `ioeventfd=off${kind},bus=${rootBus(config)},addr=${slot}`
  return [
    ...['-object', 'rng-random,id=random,filename=/dev/urandom'],
    ...['-device', `virtio-rng-pci,id=random,rng=random,${place(randomSlot)}`],
    ...['-device', `virtio-serial-pci,id=channels,${place(channelSlot)}`],
    ...['-chardev', `socket,id=guest-agent,path=${comma(paths.guestAgent)},server=on,wait=off`],
    ...['-device', 'virtserialport,id=guest-agent,bus=channels.0,nr=1,chardev=guest-agent,name=org.qemu.guest_agent.0'],
  ]
}

function diskArguments(config: MachineConfig, disk: MachineDisk, at: number): string[] {
  const id = diskNode(disk.key)
  // A pause keeps a write that found no space or no storage; the guest sees no error and goes on when there is some.
  const common = `id=${id},drive=${id},bootindex=${at + 1},werror=stop,rerror=stop,write-cache=on,serial=${id}`
  const device =
    disk.bus === 'virtio'
      ? `virtio-blk-pci${virtioKind(config)},${common},bus=${rootBus(config)},addr=${needSlot(disk)}`
      : `ide-hd,${common},${idePlace(config, disk.key)}`
  return ['-blockdev', blockdev(id, disk.path, disk.format, disk.cache), '-device', device]
}

function cdroms(config: MachineConfig): string[] {
  return config.cdroms.flatMap(({ key, path, format }, at) => [
    ...(path === null ? [] : ['-blockdev', cdromBlockdev(`cdrom-${key}`, path, format)]),
    '-device',
    `ide-cd,id=cdrom-${key}${path === null ? '' : `,drive=cdrom-${key}`},bootindex=${100 + at},${idePlace(config, key)}`,
  ])
}

function nicArguments(config: MachineConfig, nic: MachineNic, at: number): string[] {
  const model = nic.model === 'virtio' ? `virtio-net-pci${virtioKind(config)}` : 'e1000'
  const id = `nic-${nic.key}`
  return [
    ...['-netdev', `tap,id=${id},fd=${firstTapFd + at}${nic.model === 'virtio' ? ',vhost=off' : ''}`],
    // No option ROM: the guest does not boot from the network, and hot-plug on 7.2 needs it so.
    ...['-device', `${model},id=${id},netdev=${id},mac=${nic.mac},bus=${rootBus(config)},addr=${nic.slot},romfile=`],
  ]
}

/** Node name and device id of a disk. After `moveDisk` the node has another name; the device keeps its own. */
export function diskNode(key: number): string {
  return `disk-${key}`
}

/** The JSON of a guest-writable disk's block node: locked, and opening no other file whatever its header says. */
export function blockdev(nodeName: string, path: string, format: 'qcow2' | 'raw', cache: 'none' | 'writeback'): string {
  return json(diskBlockdev(nodeName, path, format, cache))
}

export function diskBlockdev(
  nodeName: string,
  path: string,
  format: 'qcow2' | 'raw',
  cache: 'none' | 'writeback',
): Record<string, unknown> {
  const caching = { direct: cache === 'none', 'no-flush': false }
  return {
    driver: format,
    'node-name': nodeName,
    cache: caching,
    discard: 'unmap',
    ...(format === 'qcow2' ? { backing: null } : {}),
    file: { driver: 'file', filename: path, locking: 'on', discard: 'unmap', cache: caching, aio: 'threads' },
  }
}

export function cdromBlockdev(nodeName: string, path: string, format: 'qcow2' | 'raw'): string {
  return json(cdromNode(nodeName, path, format))
}

export function cdromNode(nodeName: string, path: string, format: 'qcow2' | 'raw'): Record<string, unknown> {
  return {
    driver: format,
    'node-name': nodeName,
    'read-only': true,
    ...(format === 'qcow2' ? { backing: null } : {}),
    file: { driver: 'file', filename: path, locking: 'on', 'read-only': true },
  }
}

/** IDE disks and CD-ROMs share the places on the bus in the order of their keys. */
function idePlace(config: MachineConfig, key: number): string {
  const keys = [...config.disks.filter((disk) => disk.bus === 'ide'), ...config.cdroms]
    .map((device) => device.key)
    .sort((a, b) => a - b)
  const at = keys.indexOf(key)
  const places = config.machine === 'pc' ? 4 : 6
  if (at >= places)
    throw new HoldfastError('refused', `a ${config.machine} machine has ${places} IDE places, not ${keys.length}`, {
      mend: 'Use virtio disks.',
    })
  return config.machine === 'pc' ? `bus=ide.${at >> 1},unit=${at & 1}` : `bus=ide.${at}`
}

function virtioKind(config: MachineConfig): string {
  return config.virtio === 'legacy' ? legacyOnly : ''
}

function rootBus(config: MachineConfig): string {
  return config.machine === 'pc' ? 'pci.0' : 'pcie.0'
}

function needSlot(disk: MachineDisk): string {
  if (disk.slot === null) throw new HoldfastError('refused', `virtio disk ${disk.key} has no PCI slot`)
  return disk.slot
}

function json(value: unknown): string {
  return JSON.stringify(value)
}

/** A comma within a value of QEMU's key=value syntax is written twice. */
function comma(text: string): string {
  return text.replaceAll(',', ',,')
}
