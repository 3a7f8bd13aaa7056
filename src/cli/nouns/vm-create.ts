/** `holdfast vm create` */
import { InvalidArgumentError, type Command } from 'commander'
import { HoldfastError } from '../../base/errors.ts'
import type { CreateVm } from '../../contracts/vm-requests.ts'
import type { Cli } from '../cli.ts'
import { choice, collect, countOption, given, memoryOption, sizeOption, waitOptions } from '../options.ts'
import { finishTask } from '../task-finish.ts'
import type { WaitFlags } from '../task-wait.ts'
import { addRestartOptions, type RestartFlags } from './vm-restart-options.ts'
import { monitoringOptions, monitoringWish, type MonitoringFlags } from './vm-monitoring.ts'

type Disk = NonNullable<CreateVm['disks']>[number]
type Nic = NonNullable<CreateVm['nics']>[number]

interface CreateFlags extends WaitFlags, RestartFlags, MonitoringFlags {
  readonly image?: string
  readonly disk?: Disk[]
  readonly nic?: Nic[] | false
  readonly cdrom?: string[]
  readonly vcpus?: number
  readonly memory?: number
  readonly cpuModel?: string
  readonly firmware?: 'bios' | 'uefi'
  readonly machine?: 'pc' | 'q35'
  readonly video?: 'std' | 'none'
  readonly virtio?: 'transitional' | 'legacy'
  readonly kernel?: string
  readonly initrd?: string
  readonly cmdline?: string
  readonly datastore?: string
  readonly description?: string
  readonly allowPostCopy?: true
  readonly autoConverge: boolean
  readonly restart?: 'on-failure' | 'never'
  readonly isolation?: 'stop' | 'leave-running'
  readonly start?: true
}

const examples = `
Examples:
  holdfast vm create web --image debian --memory 512M --start
  holdfast vm create db --vcpus 2 --memory 2G --image debian --disk 20G,datastore=fast --nic guests
  holdfast vm create probe --kernel vmlinuz --initrd initrd --cmdline "console=ttyS0" --no-nic`

export function defineVmCreate(command: Command, cli: Cli): void {
  const create = waitOptions(command.command('create').description('create a VM').argument('<name>', 'its name'))
  addDeviceOptions(create)
  addMachineOptions(create)
  create.addHelpText('after', examples).action(async (name: string, options: CreateFlags) => {
    const session = await cli.session()
    const task = await session.change('createVm', { body: createBody(name, options) })
    const word = options.start === true ? 'created and started' : 'created'
    await finishTask(cli, session, task, options, (done) => `${name} (${done.target?.id ?? '?'}) is ${word}`)
  })
}

function addDeviceOptions(create: Command): void {
  create
    .option('--image <image>', 'the first disk is a copy of this image')
    .option(
      '--disk <spec>',
      'a disk: SIZE, or size=10G,image=…,datastore=…,format=qcow2|raw,bus=virtio|ide (repeatable)',
      diskOption,
    )
    .option('--nic <spec>', 'a NIC: NETWORK, or network=…,model=virtio|e1000,mac=…,address=… (repeatable)', nicOption)
    .option('--no-nic', 'no NIC; without --nic there is one on the default network')
    .option('--cdrom <image>', 'a CD-ROM with this image, or `empty` (repeatable)', (text, before?: string[]) =>
      collect(text, before),
    )
    .option('--datastore <datastore>', 'where disks go that name no datastore')
    .option('--kernel <image>', 'boot this kernel directly')
    .option('--initrd <image>', 'with --kernel: its initial RAM disk')
    .option('--cmdline <text>', 'with --kernel: its command line')
}

function addMachineOptions(create: Command): void {
  monitoringOptions(create)
    .option('--vcpus <count>', 'number of vCPUs', countOption)
    .option('--memory <size>', 'memory, such as 512M or 2G', memoryOption)
    .option('--cpu-model <model>', 'a named CPU model; without it the baseline of the cluster')
    .addOption(choice('--firmware <kind>', 'firmware', ['bios', 'uefi']))
    .addOption(choice('--machine <kind>', 'machine type', ['pc', 'q35']))
    .addOption(choice('--video <kind>', 'screen', ['std', 'none']))
    .addOption(choice('--virtio <kind>', 'legacy: shorter pauses while protected', ['transitional', 'legacy']))
    .option('--description <text>', 'words for people')
    .option('--allow-post-copy', 'a migration may switch to post-copy')
    .option('--no-auto-converge', 'a migration may not slow the guest down')
    .addOption(choice('--restart <policy>', 'start it again when it stopped unasked', ['on-failure', 'never']))
    .addOption(choice('--isolation <policy>', 'when its host is cut off (several managers)', ['stop', 'leave-running']))
    .option('--start', 'power it on when it is made')
  addRestartOptions(create, false)
}

/** `10G,datastore=fast` or `size=10G,…` as fields. */
function fieldsOf(text: string, first: string, known: readonly string[]): Map<string, string> {
  const fields = new Map<string, string>()
  text.split(',').forEach((part, at) => {
    const equals = part.indexOf('=')
    const name = equals < 0 && at === 0 ? first : part.slice(0, Math.max(0, equals))
    if (!known.includes(name)) {
      throw new InvalidArgumentError(`\`${part}\` is none of ${known.map((word) => `${word}=`).join(', ')}.`)
    }
    if (fields.has(name)) throw new InvalidArgumentError(`${name} is given twice.`)
    fields.set(name, part.slice(equals + 1))
  })
  return fields
}

/** A disk as it is written on the command line. Exported for its test. */
export function diskOption(text: string, before?: Disk[]): Disk[] {
  const fields = fieldsOf(text, 'size', ['size', 'image', 'datastore', 'format', 'bus'])
  const size = fields.get('size')
  const disk = given({
    sizeBytes: size === undefined ? undefined : sizeOption(size),
    image: fields.get('image'),
    datastore: fields.get('datastore'),
    format: oneOf(fields, 'format', ['qcow2', 'raw']),
    bus: oneOf(fields, 'bus', ['virtio', 'ide']),
  })
  return collect<Disk>(disk, before)
}

/** A NIC as it is written on the command line. Exported for its test. */
export function nicOption(text: string, before?: Nic[] | false): Nic[] {
  const fields = fieldsOf(text, 'network', ['network', 'model', 'mac', 'address'])
  const nic = given({
    network: fields.get('network'),
    model: oneOf(fields, 'model', ['virtio', 'e1000']),
    mac: fields.get('mac')?.toLowerCase(),
    address: fields.get('address'),
  })
  return collect<Nic>(nic, before)
}

function oneOf<const W extends string>(fields: Map<string, string>, name: string, words: readonly W[]): W | undefined {
  const text = fields.get(name)
  if (text === undefined) return undefined
  const found = words.find((word) => word === text)
  if (found === undefined) throw new InvalidArgumentError(`${name} is one of ${words.join(', ')}.`)
  return found
}

/** The request that the options stand for. Exported for its test. */
export function createBody(name: string, options: CreateFlags): CreateVm {
  if (options.kernel === undefined && (options.initrd ?? options.cmdline) !== undefined) {
    throw new HoldfastError('invalid-request', '--initrd and --cmdline go with --kernel')
  }
  const disks = [...(options.image === undefined ? [] : [{ image: options.image }]), ...(options.disk ?? [])]
  const policies = given({
    allowPostCopy: options.allowPostCopy,
    autoConverge: options.autoConverge ? undefined : false,
    restart: options.restart,
    isolation: options.isolation,
    restartPriority: options.restartPriority,
    monitoring: monitoringWish(options),
  })
  return given({
    name,
    description: options.description,
    vcpus: options.vcpus,
    memoryMiB: options.memory,
    cpuModel: options.cpuModel,
    firmware: options.firmware,
    machine: options.machine,
    video: options.video,
    virtio: options.virtio,
    disks: disks.length === 0 ? undefined : disks,
    nics: options.nic === false ? [] : options.nic,
    cdroms: options.cdrom?.map((image) => (image === 'empty' ? {} : { image })),
    kernel:
      options.kernel === undefined
        ? undefined
        : given({ kernel: options.kernel, initrd: options.initrd, cmdline: options.cmdline }),
    policies: Object.keys(policies).length === 0 ? undefined : policies,
    dependsOn: options.dependsOn === false ? undefined : options.dependsOn,
    datastore: options.datastore,
    start: options.start,
  })
}
