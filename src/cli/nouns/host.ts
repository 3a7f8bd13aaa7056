/** `holdfast host …` */
import type { Command } from 'commander'
import type { Host } from '../../contracts/inventory.ts'
import type { Cli } from '../cli.ts'
import { resolveId, resolveObject } from '../connection/resolve.ts'
import { confirm, countOption, given, waitOptions, yesOption } from '../options.ts'
import { writeDone, writeFacts, writeJson, writeList } from '../output/show.ts'
import type { Column } from '../output/table.ts'
import { ageWords, counted, memoryWords, orDash, percentWords, sizeOrDash } from '../output/words.ts'
import { finishTask } from '../task-finish.ts'
import type { WaitFlags } from '../task-wait.ts'
import { defineFencing, fenceFacts } from './host-fence.ts'

export function define(command: Command, cli: Cli): void {
  defineList(command, cli)
  defineShow(command, cli)
  defineMaintenance(command, cli)
  defineConfirmOff(command, cli)
  defineFencing(command, cli)
  defineRemove(command, cli)
  defineJoinToken(command, cli)
}

const columns: readonly Column<Host>[] = [
  { title: 'NAME', value: (host) => host.name, shrinkTo: 12 },
  { title: 'STATE', value: stateWords },
  { title: 'VMS', value: (host) => `${host.vmCount}`, align: 'right' },
  { title: 'CPU', value: (host) => cpuWords(host), align: 'right' },
  { title: 'MEMORY', value: memoryUse, align: 'right' },
  { title: 'ACCEL', value: (host) => orDash(host.facts?.accelerator.kind) },
  { title: 'QEMU', value: (host) => orDash(host.facts?.qemu.version.split(' ')[0]) },
  { title: 'ADDRESS', value: (host) => orDash(host.addresses.management), shrinkTo: 15 },
  { title: 'ID', value: (host) => host.id },
]

function stateWords(host: Host): string {
  const maintenance = { off: '', entering: ', emptying', on: ', maintenance' }[host.maintenance]
  return host.state + maintenance
}

function cpuWords(host: Host): string {
  if (host.facts === null) return '-'
  const used = host.load === null ? '' : `${percentWords(host.load.cpuUsed)} of `
  return `${used}${host.facts.cpu.cores}`
}

/** What is promised to VMs, of what the host has. */
function memoryUse(host: Host): string {
  return host.facts === null ? '-' : `${memoryWords(host.committedMiB)} of ${memoryWords(host.facts.memoryMiB)}`
}

function defineList(command: Command, cli: Cli): void {
  command
    .command('list')
    .alias('ls')
    .description('list hosts')
    .option('--name <name>', 'only the one of this name')
    .action(async (options: { name?: string }) => {
      const session = await cli.session()
      const hosts = await session.list('listHosts', given({ name: options.name }))
      writeList(cli, hosts, columns, 'There are no hosts. `holdfast host join-token` prints how one joins.')
    })
}

function defineShow(command: Command, cli: Cli): void {
  command
    .command('show')
    .description('show a host')
    .argument('<host>', 'name or id')
    .action(async (word: string) => {
      const session = await cli.session()
      const host = await session.client.call('getHost', { params: { host: await resolveId(session, 'host', word) } })
      const { clock } = await cli.ports()
      writeFacts(cli, host, factsOf(host, clock.now()))
    })
}

function factsOf(host: Host, nowMs: number): (readonly [string, string | undefined])[] {
  const { facts, load } = host
  return [
    ['name', host.name],
    ['id', host.id],
    ['uuid', host.uuid],
    ['state', stateWords(host)],
    ['last seen', ageWords(host.lastSeen, nowMs)],
    ['seen by', linesOf(host.seenBy.map(sightWords))],
    ['lease', leaseWords(host)],
    [
      'addresses',
      `management ${host.addresses.management}\nstorage ${host.addresses.storage}\nguests ${host.addresses.guests}`,
    ],
    ['vms', `${host.vmCount}`],
    ['memory', facts === null ? undefined : `${memoryUse(host)} promised`],
    [
      'load',
      load === null
        ? undefined
        : `${load.load1.toFixed(2)}, CPU ${percentWords(load.cpuUsed)}, memory ${memoryWords(Math.round(load.memoryUsedMiB))} in use`,
    ],
    ['clock', host.clockSkewMs === null ? undefined : `${Math.round(host.clockSkewMs)} ms from the manager's`],
    ['fencing', fenceFacts(host, nowMs)],
    ...(facts === null ? [] : machineFacts(facts)),
    ['upgraded', upgradedWords(host, nowMs)],
    [
      'datastores',
      linesOf(
        host.datastores.map(
          (store) =>
            `${store.datastore}  ${store.path}  ${store.problem ?? `${sizeOrDash(store.freeBytes)} free of ${sizeOrDash(store.totalBytes)}`}`,
        ),
      ),
    ],
    [
      'networks',
      linesOf(
        host.networks.map(
          (network) =>
            `${network.network}  ${network.bridge}  ${network.problem ?? (network.isUp ? 'up' : 'down')}  MTU ${network.mtu}`,
        ),
      ),
    ],
  ]
}

function sightWords({ host, network, storage }: Host['seenBy'][number]): string {
  const marks = storage === null ? '' : storage ? ', its marks on storage change' : ', no marks on storage'
  return `${host}: its agent ${network ? 'answers' : 'does not answer'}${marks}`
}

function leaseWords({ lease }: Host): string | undefined {
  if (lease === null) return undefined
  const { state, round, armed, watchdogMs } = lease
  const behind = watchdogMs === null ? 'no hardware watchdog' : `hardware watchdog of ${watchdogMs / 1000} s`
  return `${state}, round ${round}; stopped when cut off: ${armed.length === 0 ? 'none' : armed.join(', ')}; ${behind}`
}

function machineFacts(facts: NonNullable<Host['facts']>): (readonly [string, string | undefined])[] {
  return [
    ['cpu', `${facts.cpu.cores} × ${facts.cpu.model}`],
    ['accelerator', `${facts.accelerator.kind}: ${facts.accelerator.reason}`],
    ['qemu', facts.qemu.version],
    ['protection', protectionWords(facts)],
    ['kernel', facts.kernel],
    ['agent', facts.agentVersion],
    ['foreign vms', linesOf(facts.foreignVms.map((vm) => `${vm.name} (${vm.owner}, pid ${vm.pid}): left alone`))],
  ]
}

/** Whether it holds VMs in step, and how it finds what their guests write. */
function protectionWords({ protectionObstacle, writeTracker }: NonNullable<Host['facts']>): string | undefined {
  if (protectionObstacle === undefined) return undefined
  if (protectionObstacle !== null) return `cannot hold VMs in step: ${protectionObstacle}`
  const { kind, reason } = writeTracker ?? { kind: null, reason: '' }
  return kind === null ? 'holds VMs in step' : `holds VMs in step; written pages by ${kind} (${reason})`
}

function upgradedWords({ upgraded }: Host, nowMs: number): string | undefined {
  if (upgraded === undefined || upgraded === null) return undefined
  const { at, from, to } = upgraded
  return `${ageWords(at, nowMs)}: agent ${from.agent} → ${to.agent}, QEMU ${from.qemu} → ${to.qemu}`
}

function linesOf(lines: readonly string[]): string | undefined {
  return lines.length === 0 ? undefined : lines.join('\n')
}

function defineMaintenance(command: Command, cli: Cli): void {
  const maintenance = command
    .command('maintenance')
    .description('move every VM away and keep the host empty; with --leave let VMs come again')
  waitOptions(maintenance.argument('<host>', 'name or id'))
    .option('--leave', 'end maintenance')
    .option('--force', 'although it takes room that admission control keeps (administrators)')
    .action(async (word: string, options: WaitFlags & { leave?: true; force?: true }) => {
      const session = await cli.session()
      const host = await resolveId(session, 'host', word)
      if (options.leave === true) {
        const left = await session.change('leaveMaintenance', { params: { host } })
        return writeDone(cli, left, `${left.name} takes VMs again`)
      }
      const task = await session.change('enterMaintenance', {
        params: { host },
        body: given({ force: options.force }),
      })
      await finishTask(cli, session, task, options, () => `${word} is empty and in maintenance`)
    })
}

function defineConfirmOff(command: Command, cli: Cli): void {
  const off = command
    .command('confirm-off')
    .description('say that a lost host is really off, so that its VMs may be started elsewhere')
  yesOption(off.argument('<host>', 'name or id')).action(async (word: string, options: { yes?: boolean }) => {
    const session = await cli.session()
    const host = await resolveObject(session, 'host', word)
    const question = `Is the power of ${host.name} off? If it still runs, its VMs may run twice and destroy their disks.`
    await confirm(cli, options.yes, question)
    const after = await session.change('confirmHostOff', { params: { host: host.id }, body: { iAmSure: true } })
    writeDone(cli, after, `${after.name} counts as off; its VMs may be started elsewhere`)
  })
}

function defineRemove(command: Command, cli: Cli): void {
  const remove = command.command('remove').description('forget an empty host')
  yesOption(remove.argument('<host>', 'name or id')).action(async (word: string, options: { yes?: boolean }) => {
    const session = await cli.session()
    const host = await resolveObject(session, 'host', word)
    await confirm(cli, options.yes, `Forget ${host.name} (${host.id}), which has ${counted(host.vmCount, 'VM')}?`)
    await session.change('removeHost', { params: { host: host.id } })
    writeDone(cli, { id: host.id, name: host.name }, `${host.name} is forgotten`)
  })
}

function defineJoinToken(command: Command, cli: Cli): void {
  command
    .command('join-token')
    .description('a one-time token for `holdfast agent join` on a new host')
    .option('--valid-minutes <minutes>', 'how long it works', countOption)
    .action(async (options: { validMinutes?: number }) => {
      const session = await cli.session()
      const made = await session.change('createJoinToken', { body: given({ validMinutes: options.validMinutes }) })
      if (cli.flags.json) return writeJson(cli, made)
      // The token alone on standard output, so that it can be piped.
      cli.terminal.err(`On the new host: sudo holdfast agent join ${session.settings.url} --token TOKEN\n`)
      cli.terminal.out(`${made.token}\n`)
    })
}
