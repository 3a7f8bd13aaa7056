/** What `vm show` tells people. */
import { formatSize } from '../../base/units.ts'
import type { Vm } from '../../contracts/inventory.ts'
import type { Session } from '../connection/session.ts'
import { durationWords, memoryWords } from '../output/words.ts'
import { monitoringWords } from './vm-monitoring.ts'
import { protectionWords } from './vm-protection-words.ts'
import { dependencyLines, priorityWords } from './vm-restart-options.ts'

type Fact = readonly [string, string | undefined]

/** The facts of a VM, with the names of its networks and datastores. */
export async function vmFacts(session: Session, vm: Vm, age: (time: string) => string): Promise<Fact[]> {
  const hasOthers = (vm.dependsOn ?? []).length > 0
  const [networks, datastores, others] = await Promise.all([
    namesOf(session, 'listNetworks'),
    namesOf(session, 'listDatastores'),
    hasOthers ? namesOf(session, 'listVms') : new Map<string, string>(),
  ])
  const { spec, policies } = vm
  return [
    ['name', vm.name],
    ['id', vm.id],
    ['uuid', vm.uuid],
    ['description', vm.description === '' ? undefined : vm.description],
    ['state', vm.state],
    ['problem', vm.problem ?? undefined],
    ['operation', vm.operation ?? undefined],
    ['host', vm.host ?? undefined],
    ['protection', protectionWords(vm.protection)],
    ['addresses', vm.addresses.length === 0 ? undefined : vm.addresses.join(', ')],
    ['cpu', `${spec.vcpus} × ${spec.cpu.model}`],
    ['memory', memoryWords(spec.memoryMiB)],
    [
      'machine',
      `${spec.machineType}, ${spec.firmware}, screen ${spec.video}${spec.virtio === 'legacy' ? ', virtio legacy' : ''}`,
    ],
    ['disks', linesOf(spec.disks.map((disk) => diskLine(disk, datastores)))],
    ['nics', linesOf(spec.nics.map((nic) => nicLine(nic, networks)))],
    ['cdroms', linesOf(spec.cdroms.map((cdrom) => cdrom.image ?? 'empty'))],
    ['kernel', kernelLine(spec)],
    ['policies', policyLine(policies)],
    ['restart priority', priorityWords(vm)],
    ['waits for', linesOf(dependencyLines(vm, others))],
    ['monitoring', monitoringWords(vm)],
    ['usage', usageLine(vm, age)],
    ['created', age(vm.created)],
  ]
}

async function namesOf(
  session: Session,
  route: 'listNetworks' | 'listDatastores' | 'listVms',
): Promise<Map<string, string>> {
  const items: { id: string; name: string }[] = await session.list(route)
  return new Map(items.map((item) => [item.id, item.name]))
}

function diskLine(disk: Vm['spec']['disks'][number], datastores: Map<string, string>): string {
  const place = datastores.get(disk.datastore) ?? disk.datastore
  return `${disk.disk}  ${formatSize(disk.sizeBytes)} ${disk.format} on ${place} (${disk.bus})`
}

function nicLine(nic: Vm['spec']['nics'][number], networks: Map<string, string>): string {
  const address = nic.address === null ? '' : `  ${nic.address}`
  return `${nic.mac}${address}  on ${networks.get(nic.network) ?? nic.network} (${nic.model})`
}

function kernelLine(spec: Vm['spec']): string | undefined {
  if (spec.kernelBoot === null) return undefined
  const { kernel, initrd, cmdline } = spec.kernelBoot
  return [kernel, initrd, cmdline].filter((part) => part !== null && part !== '').join('  ')
}

function policyLine(policies: Vm['policies']): string {
  return [
    `restart ${policies.restart}`,
    `when its host is cut off: ${policies.isolation ?? 'leave-running'}`,
    policies.autoConverge ? 'auto-converge' : 'no auto-converge',
    policies.allowPostCopy ? 'post-copy allowed' : 'no post-copy',
  ].join(', ')
}

function usageLine(vm: Vm, age: (time: string) => string): string | undefined {
  const { usage } = vm
  if (usage === null) return undefined
  const cpu = `${durationWords(usage.cpuSeconds * 1000)} of CPU`
  const started = usage.startedAt === null ? '' : `, started ${age(usage.startedAt)}`
  return `${cpu}, ${memoryWords(Math.round(usage.rssMiB))} resident${started}`
}

function linesOf(lines: readonly string[]): string | undefined {
  return lines.length === 0 ? undefined : lines.join('\n')
}

/** ` on HOST`, as the manager knows it now. */
export async function onHost(session: Session, vm: string): Promise<string> {
  const { host } = await session.client.call('getVm', { params: { vm } })
  return host === null ? '' : ` on ${host}`
}
