/** `holdfast vm change` */
import type { Command } from 'commander'
import { HoldfastError } from '../../base/errors.ts'
import type { ChangeVm } from '../../contracts/vm-requests.ts'
import type { Cli } from '../cli.ts'
import { resolveId } from '../connection/resolve.ts'
import { choice, collect, countOption, given, memoryOption } from '../options.ts'
import { writeDone } from '../output/show.ts'
import { addRestartOptions, type RestartFlags } from './vm-restart-options.ts'

import { monitoringOptions, monitoringWish, type MonitoringFlags } from './vm-monitoring.ts'

interface ChangeFlags extends RestartFlags, MonitoringFlags {
  readonly name?: string
  readonly description?: string
  readonly vcpus?: number
  readonly memory?: number
  readonly virtio?: 'transitional' | 'legacy'
  readonly kernel?: string | false
  readonly initrd?: string | false
  readonly cmdline?: string
  readonly cdrom?: string[]
  readonly postCopy?: 'yes' | 'no'
  readonly autoConverge?: 'yes' | 'no'
  readonly restart?: 'on-failure' | 'never'
  readonly isolation?: 'stop' | 'leave-running'
}

const examples = `
Examples:
  holdfast vm change web --vcpus 2 --memory 2G
  holdfast vm change web --monitoring medium
  holdfast vm change installer --cdrom empty
  holdfast vm change probe --cmdline "console=ttyS0 debug"`

export function defineVmChange(command: Command, cli: Cli): void {
  const change = command
    .command('change')
    .description('change a VM: its machine while it is stopped, the rest at any time')
    .argument('<vm>', 'name or id')
    .option('--name <name>', 'another name')
    .option('--description <text>', 'words for people')
    .option('--vcpus <count>', 'number of vCPUs', countOption)
    .option('--memory <size>', 'memory, such as 512M or 2G', memoryOption)
    .addOption(choice('--virtio <kind>', 'legacy: shorter pauses while protected', ['transitional', 'legacy']))
    .option('--kernel <image>', 'boot this kernel directly')
    .option('--no-kernel', 'boot from the disks')
    .option('--initrd <image>', 'with a kernel: its initial RAM disk')
    .option('--no-initrd', 'with a kernel: none')
    .option('--cmdline <text>', 'with a kernel: its command line')
    .option(
      '--cdrom <image>',
      'what lies in the CD-ROM drive, or `empty`; once for each drive',
      (text, all?: string[]) => collect(text, all),
    )
    .addOption(choice('--post-copy <yes|no>', 'may a migration switch to post-copy?', ['yes', 'no']))
    .addOption(choice('--auto-converge <yes|no>', 'may a migration slow the guest down?', ['yes', 'no']))
    .addOption(choice('--restart <policy>', 'start it again when it stopped unasked', ['on-failure', 'never']))
    .addOption(choice('--isolation <policy>', 'when its host is cut off (several managers)', ['stop', 'leave-running']))
  addRestartOptions(change, true)
  monitoringOptions(change)
    .addHelpText('after', examples)
    .action(async (word: string, options: ChangeFlags) => {
      const body = changeBody(options)
      const session = await cli.session()
      const vm = await resolveId(session, 'vm', word)
      const changed = await session.change('changeVm', { params: { vm }, body })
      writeDone(cli, changed, `${changed.name} is changed`)
    })
}

/** The request that the options stand for. Exported for its test. */
export function changeBody(options: ChangeFlags): ChangeVm {
  const policies = given({
    allowPostCopy: yesNo(options.postCopy),
    autoConverge: yesNo(options.autoConverge),
    restart: options.restart,
    isolation: options.isolation,
    restartPriority: options.restartPriority,
    monitoring: monitoringWish(options),
  })
  const body = given({
    name: options.name,
    description: options.description,
    vcpus: options.vcpus,
    memoryMiB: options.memory,
    virtio: options.virtio,
    kernel: kernelOf(options),
    cdroms: options.cdrom?.map((image) => (image === 'empty' ? {} : { image })),
    dependsOn: options.dependsOn === false ? [] : options.dependsOn,
    policies: Object.keys(policies).length === 0 ? undefined : policies,
  })
  if (Object.keys(body).length > 0) return body
  throw new HoldfastError('invalid-request', 'nothing to change is given', {
    mend: '`holdfast vm change --help` shows what can change.',
  })
}

function kernelOf({ kernel, initrd, cmdline }: ChangeFlags): ChangeVm['kernel'] | undefined {
  if (kernel === false) {
    if (typeof initrd !== 'string' && cmdline === undefined) return null
    throw new HoldfastError('invalid-request', '--initrd and --cmdline go with a kernel')
  }
  const change = given({ kernel, initrd: initrd === false ? null : initrd, cmdline })
  return Object.keys(change).length === 0 ? undefined : change
}

function yesNo(word: 'yes' | 'no' | undefined): boolean | undefined {
  return word === undefined ? undefined : word === 'yes'
}
