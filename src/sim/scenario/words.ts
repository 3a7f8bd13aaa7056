/**
 * Lines of the log of a scenario, and the patterns that are written for them. A line is some words: what happened, to whom,
 * and how. A pattern has fewer or as many words; each is one word, several of which any will do (`node2|node3`), or `*`.
 */
import { stopCauses } from '../../contracts/run-record.ts'

/** What the manager tells, by kind of subject. A test compares this with the source. */
export const vmEvents = [
  ...['vm.absent', 'vm.adopted', 'vm.arbiter-changed', 'vm.arbiter-waiting', 'vm.changed', 'vm.clock-behind'],
  ...['vm.clock-right', 'vm.created', 'vm.deleted', 'vm.host-lost', 'vm.lost-in-move', 'vm.migrated'],
  ...['vm.monitoring-gave-up', 'vm.move-ended', 'vm.moving', 'vm.post-copy', 'vm.protected', 'vm.protecting'],
  ...['vm.protection-settled', 'vm.protection-undecided', 'vm.protection-waiting', 'vm.reset-after-hang'],
  ...['vm.reset-after-panic', 'vm.restart-paused', 'vm.restart-waits', 'vm.run-unknown', 'vm.start-revoked'],
  ...['vm.started', 'vm.stopped', 'vm.took-over', 'vm.unprotected'],
] as const
export const hostEvents = [
  ...['host.back', 'host.confirmed-off', 'host.fence-failed', 'host.fence-held', 'host.fence-lied'],
  ...['host.fence-ok', 'host.fence-removed', 'host.fence-set', 'host.fence-test-failed', 'host.fenced'],
  ...['host.isolated', 'host.joined', 'host.lease-over', 'host.maintenance-left'],
  ...['host.removed', 'host.silent', 'host.switch-on-failed', 'host.switched-on', 'host.connected', 'host.unreachable'],
] as const
export const otherEvents = ['cluster.changed', 'cluster.fencing-changed', 'rule.created', 'rule.removed'] as const
export const taskEvents = ['task.started', 'task.ended', 'task.stuck', 'task.cancel-asked'] as const
export const alarmEvents = ['alarm.raised', 'alarm.cleared', 'alarm.acknowledged'] as const

const alarmTypes = [
  ...['host-down', 'host-isolated', 'fence-failing', 'host-clock-skew', 'host-version', 'datastore-full'],
  ...['datastore-unusable', 'task-stuck', 'vm-down', 'vm-restarted', 'vm-restart-paused', 'vm-out-of-space'],
  ...['vm-guest-given-up', 'vm-unprotected', 'vm-protection-undecided', 'vm-clock-behind', 'certificate-ending'],
]
const operations = [
  ...['vm.create', 'vm.start', 'vm.stop', 'vm.shutdown', 'vm.delete', 'vm.migrate', 'vm.move-disks', 'vm.reset-hung'],
  ...['vm.clean-copies', 'host.fence', 'host.fence-cycle', 'host.maintenance'],
]
const taskStates = ['done', 'failed', 'cancelled', 'stuck', 'running', 'undoing']
const reasons = [
  ...stopCauses,
  ...['no-host', 'storage', 'rule', 'dependency', 'failed', 'exhausted'],
  ...['only-host', 'no-witness', 'at-once', 'share'],
]

/** What people can be refused. */
const askedFor = [
  ...['start', 'stop', 'shutdown', 'migrate', 'cancel', 'create', 'delete', 'change'],
  ...['maintenance', 'leave', 'confirm', 'force', 'remove'],
]

/** What is known in one scenario. */
export interface Names {
  readonly hosts: readonly string[]
  readonly vms: readonly string[]
  readonly datastores: readonly string[]
  readonly rules: readonly string[]
}

export function doesMatch(pattern: string, line: readonly string[]): boolean {
  const words = pattern.split(' ')
  return words.length <= line.length && words.every((word, at) => isOneOf(word, line[at] ?? ''))
}

function isOneOf(word: string, found: string): boolean {
  return word === '*' || word.split('|').includes(found)
}

/** What may stand at each place of a line that begins with this word; undefined: no line does. */
function places(first: string, names: Names): readonly (readonly string[])[] | undefined {
  const { hosts, vms, datastores, rules } = names
  const is = (known: readonly string[]): boolean => known.includes(first)
  if (is(vmEvents)) return [vms, [...hosts, ...reasons]]
  if (is(hostEvents)) return [hosts, reasons]
  if (is(otherEvents)) return [rules]
  if (is(taskEvents)) return [operations, [...vms, ...hosts], taskStates]
  if (is(alarmEvents)) return [alarmTypes, [...hosts, ...vms, ...datastores], hosts]
  if (first === 'runs' || first === 'stands') return [vms, hosts]
  if (first === 'fence') return [['off', 'on', 'status'], hosts]
  if (first === 'refused') return [askedFor, [...vms, ...hosts]]
  return undefined
}

/** What is wrong with a pattern, in words; undefined: nothing. `commands`: what the scenario does, as its lines say. */
export function wrongPattern(pattern: string, names: Names, commands: readonly string[]): string | undefined {
  const [head = '', ...rest] = pattern.split(' ')
  if (head === 'do') {
    const isDone = commands.some((command) => doesMatch(pattern, ['do', ...command.split(' ')]))
    return isDone ? undefined : `no step does “${rest.join(' ')}”`
  }
  for (const first of head.split('|')) {
    const allowed = places(first, names)
    if (allowed === undefined) return `there is no event “${first}”${nearest(first)}`
    if (rest.length > allowed.length) return `“${first}” has ${allowed.length} words after it at most`
    for (const [at, word] of rest.entries()) {
      for (const each of word.split('|')) {
        if (each !== '*' && allowed[at]?.includes(each) !== true)
          return `“${each}” cannot stand there; one of: ${(allowed[at] ?? []).join(', ')}`
      }
    }
  }
  return undefined
}

function nearest(first: string): string {
  const kind = first.split('.')[0] ?? ''
  const known = [...vmEvents, ...hostEvents, ...otherEvents, ...taskEvents, ...alarmEvents]
  const same = known.filter((each) => each.startsWith(`${kind}.`))
  return `; one of: ${(same.length > 0 ? same : [...known, 'runs', 'stands', 'fence', 'refused', 'do']).join(', ')}`
}

export { alarmTypes, operations, taskStates }
