/** What is not as it should be in a cluster that nothing strikes: a sentence each. Pure. */
import type { Alarm } from '../../../src/contracts/alarms.ts'
import type { Host, Manager, Task, Vm } from '../../../src/contracts/inventory.ts'

export interface Sight {
  readonly hosts: readonly Host[]
  readonly managers: readonly Manager[]
  readonly vms: readonly Vm[]
  readonly tasks: readonly Task[]
  /** Of each VM's uuid, the hosts on which there is a QEMU of it, one for each. */
  readonly copies: ReadonlyMap<string, readonly string[]>
  /** Names of VMs that have answered their client since nothing strikes any more. */
  readonly answering: ReadonlySet<string>
  /** Managers whose member of etcd does not say that it is well. */
  readonly illMembers: readonly string[]
}

/** Empty: all is whole. `isProtected`: by the name of a VM, whether a second copy is wanted. */
export function amiss(sight: Sight, isProtected: (vm: string) => boolean): string[] {
  return [
    ...sight.hosts.flatMap(ofHost),
    ...ofManagers(sight.managers),
    ...sight.illMembers.map((name) => `the member of etcd on ${name} is not well`),
    ...sight.vms.flatMap((vm) => ofVm(vm, sight, isProtected(vm.name))),
    ...sight.tasks
      .filter(({ state }) => state === 'running' || state === 'undoing' || state === 'stuck')
      .map(({ id, name, state, step }) => `${id} (${name}) is ${state} in the step ${step ?? '?'}`),
  ]
}

function ofHost({ name, state, maintenance, lease, datastores, networks }: Host): string[] {
  if (state !== 'connected') return [`${name} is ${state}`]
  return [
    ...(maintenance === 'off' ? [] : [`${name} is in maintenance (${maintenance})`]),
    ...(lease === null || lease.state === 'held' || lease.state === 'none'
      ? []
      : [`the lease of ${name} is ${lease.state}`]),
    ...(datastores.every(({ isUsable }) => isUsable) ? [] : [`a datastore of ${name} cannot be used`]),
    ...(networks.every(({ isUp }) => isUp) ? [] : [`a network of ${name} is not up`]),
  ]
}

function ofManagers(managers: readonly Manager[]): string[] {
  const leading = managers.filter(({ state }) => state === 'leads').map(({ name }) => name)
  return [
    ...(leading.length === 1 ? [] : [`${leading.length} managers lead`]),
    ...managers.filter(({ state }) => state === 'silent').map(({ name }) => `${name} is silent`),
  ]
}

function ofVm(vm: Vm, { copies, answering }: Sight, isProtected: boolean): string[] {
  const { name, state, host, operation, protection, problem } = vm
  if (vm.power !== 'on') return []
  if (state !== 'running') return [`${name} is ${state}${problem === null ? '' : ` (${problem})`}`]
  const second = protection.state === 'protected' ? [protection.second] : []
  const wanted = [host ?? '', ...second].toSorted().join()
  const found = [...(copies.get(vm.uuid) ?? [])].toSorted().join()
  return [
    ...(operation === null ? [] : [`${name} is held by ${operation}`]),
    ...(protection.state === (isProtected ? 'protected' : 'unprotected') ? [] : [`${name} is ${protection.state}`]),
    ...(found === wanted ? [] : [`copies of ${name} are on ${found || 'no host'}, not on ${wanted}`]),
    ...(answering.has(name) ? [] : [`${name} does not answer its client`]),
  ]
}

/** That a VM was started again stands for a day, so that people hear of it. */
const lasting: ReadonlySet<string> = new Set(['vm-restarted'])
const [clearMs, firstFlapMs, longestFlapMs] = [40_000, 15_000, 900_000]

/** How long after its condition is over an alarm may stand: the more often it came back, the longer (docs/alarms.md). */
export function mayStandMs({ count }: Pick<Alarm, 'count'>): number {
  return clearMs + (count < 2 ? 0 : Math.min(longestFlapMs, firstFlapMs * 2 ** (count - 2)))
}

/** Open alarms of conditions that are over. `wholeMs`: how long nothing has been amiss. */
export function standing(alarms: readonly Alarm[], wholeMs: number): { wrong: Alarm[]; waiting: Alarm[] } {
  const open = alarms.filter(({ state, type }) => state !== 'cleared' && !lasting.has(type))
  return {
    wrong: open.filter((alarm) => wholeMs > mayStandMs(alarm)),
    waiting: open.filter((alarm) => wholeMs <= mayStandMs(alarm)),
  }
}
