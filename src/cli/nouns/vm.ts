/** `holdfast vm …` */
import type { Command } from 'commander'
import type { Vm } from '../../contracts/inventory.ts'
import type { Cli } from '../cli.ts'
import { resolveId, resolveObject } from '../connection/resolve.ts'
import { confirm, given, secondsOption, waitOptions, yesOption } from '../options.ts'
import { writeDone, writeFacts, writeList } from '../output/show.ts'
import type { Column } from '../output/table.ts'
import { ageWords, memoryWords, orDash } from '../output/words.ts'
import { finishTask } from '../task-finish.ts'
import type { WaitFlags } from '../task-wait.ts'
import { defineVmChange } from './vm-change.ts'
import { defineVmConsole } from './vm-console.ts'
import { defineVmCreate } from './vm-create.ts'
import { defineVmEvidence } from './vm-monitoring.ts'
import { defineVmMigrate } from './vm-migrate.ts'
import { onHost, vmFacts } from './vm-facts.ts'
import { defineVmProtect } from './vm-protect.ts'
import { protectionWord } from './vm-protection-words.ts'

export function define(command: Command, cli: Cli): void {
  defineList(command, cli)
  defineShow(command, cli)
  defineVmCreate(command, cli)
  definePower(command, cli)
  defineShutdown(command, cli)
  defineRename(command, cli)
  defineVmChange(command, cli)
  defineVmMigrate(command, cli)
  defineVmProtect(command, cli)
  defineVmConsole(command, cli)
  defineVmEvidence(command, cli)
  defineDelete(command, cli)
}

const columns: readonly Column<Vm>[] = [
  { title: 'NAME', value: (vm) => vm.name, shrinkTo: 12 },
  { title: 'STATE', value: (vm) => vm.state },
  { title: 'HOST', value: (vm) => orDash(vm.host), shrinkTo: 8 },
  { title: 'PROTECTED', value: (vm) => protectionWord(vm.protection) },
  { title: 'VCPUS', value: (vm) => `${vm.spec.vcpus}`, align: 'right' },
  { title: 'MEMORY', value: (vm) => memoryWords(vm.spec.memoryMiB), align: 'right' },
  { title: 'ADDRESSES', value: (vm) => orDash(vm.addresses.join(', ')), shrinkTo: 15 },
  { title: 'ID', value: (vm) => vm.id },
]

function defineList(command: Command, cli: Cli): void {
  command
    .command('list')
    .alias('ls')
    .description('list VMs')
    .option('--host <host>', 'only those of this host')
    .option('--state <state>', 'only those in this state')
    .option('--name <name>', 'only the one of this name')
    .action(async (options: { host?: string; state?: string; name?: string }) => {
      const session = await cli.session()
      const host = options.host === undefined ? undefined : await resolveId(session, 'host', options.host)
      const vms = await session.list('listVms', given({ name: options.name, state: options.state, host }))
      writeList(cli, vms, columns, 'There are no VMs. `holdfast vm create NAME --image IMAGE --start` makes one.')
    })
}

function defineShow(command: Command, cli: Cli): void {
  command
    .command('show')
    .description('show a VM')
    .argument('<vm>', 'name or id')
    .action(async (word: string) => {
      const session = await cli.session()
      const vm = await session.client.call('getVm', { params: { vm: await resolveId(session, 'vm', word) } })
      const { clock } = await cli.ports()
      writeFacts(cli, vm, cli.flags.json ? [] : await vmFacts(session, vm, (time) => ageWords(time, clock.now())))
    })
}

const powerVerbs = [
  { verb: 'stop', route: 'stopVm', summary: 'power off at once, as if the cable were pulled', did: 'is off' },
  { verb: 'reset', route: 'resetVm', summary: 'reset, as by the button', did: 'was reset' },
  { verb: 'pause', route: 'pauseVm', summary: 'hold the vCPUs', did: 'is paused' },
  { verb: 'resume', route: 'resumeVm', summary: 'go on after a pause', did: 'runs again' },
] as const

function definePower(command: Command, cli: Cli): void {
  waitOptions(command.command('start').description('power on').argument('<vm>', 'name or id'))
    .option('--host <host>', 'on this host instead of a placed one')
    .action(async (word: string, options: WaitFlags & { host?: string }) => {
      const session = await cli.session()
      const vm = await resolveId(session, 'vm', word)
      const task = await session.change('startVm', { params: { vm }, body: given({ host: options.host }) })
      await finishTask(cli, session, task, options, async () => `${word} runs${await onHost(session, vm)}`)
    })
  for (const { verb, route, summary, did } of powerVerbs) {
    waitOptions(command.command(verb).description(summary).argument('<vm>', 'name or id')).action(
      async (word: string, options: WaitFlags) => {
        const session = await cli.session()
        const vm = await resolveId(session, 'vm', word)
        const task = await session.change(route, { params: { vm }, body: {} })
        await finishTask(cli, session, task, options, () => `${word} ${did}`)
      },
    )
  }
}

function defineShutdown(command: Command, cli: Cli): void {
  const shutdown = command
    .command('shutdown')
    .description('ask the guest to shut down (ACPI), and wait until it is off')
  waitOptions(shutdown.argument('<vm>', 'name or id'))
    .option('--guest-timeout <seconds>', 'give up asking after this long', secondsOption)
    .action(async (word: string, options: WaitFlags & { guestTimeout?: number }) => {
      const session = await cli.session()
      const vm = await resolveId(session, 'vm', word)
      const body = given({ timeoutSeconds: options.guestTimeout })
      const task = await session.change('shutdownVm', { params: { vm }, body })
      await finishTask(cli, session, task, options, () => `${word} is off`)
    })
}

function defineRename(command: Command, cli: Cli): void {
  command
    .command('rename')
    .description('give a VM another name')
    .argument('<vm>', 'name or id')
    .argument('<new-name>')
    .action(async (word: string, name: string) => {
      const session = await cli.session()
      const before = await resolveObject(session, 'vm', word)
      const vm = await session.change('changeVm', {
        params: { vm: before.id },
        body: { name, revision: before.revision },
      })
      writeDone(cli, vm, `${before.name} is ${vm.name} now`)
    })
}

function defineDelete(command: Command, cli: Cli): void {
  const remove = command.command('delete').alias('rm').description('delete a stopped VM and its disks')
  yesOption(waitOptions(remove.argument('<vm>', 'name or id'))).action(
    async (word: string, options: WaitFlags & { yes?: boolean }) => {
      const session = await cli.session()
      const vm = await resolveObject(session, 'vm', word)
      await confirm(cli, options.yes, `Delete ${vm.name} (${vm.id}) and its ${vm.spec.disks.length} disks for ever?`)
      const task = await session.change('deleteVm', { params: { vm: vm.id } })
      await finishTask(cli, session, task, options, () => `${vm.name} is deleted`)
    },
  )
}
