/**
 * The first words of the command line. Each has a file of its own in nouns/, loaded only when it is used, so that
 * `holdfast --help` and every single command start fast.
 */
import type { Command } from 'commander'
import type { Cli } from './cli.ts'

export interface Noun {
  readonly name: string
  readonly summary: string
  readonly group: string
  /** The file's `define`: adds verbs, options and actions to the noun's command. */
  readonly load: () => Promise<{ define: (command: Command, cli: Cli) => void }>
}

export const nouns: readonly Noun[] = [
  {
    name: 'lab',
    summary: 'a whole datacenter on this machine, and its faults',
    group: 'Lab:',
    load: () => import('./nouns/lab.ts'),
  },
  { name: 'vm', summary: 'virtual machines', group: 'Inventory:', load: () => import('./nouns/vm.ts') },
  { name: 'host', summary: 'hosts', group: 'Inventory:', load: () => import('./nouns/host.ts') },
  { name: 'image', summary: 'disk images', group: 'Inventory:', load: () => import('./nouns/image.ts') },
  { name: 'datastore', summary: 'where disks are', group: 'Inventory:', load: () => import('./nouns/datastore.ts') },
  { name: 'network', summary: 'networks (port groups)', group: 'Inventory:', load: () => import('./nouns/network.ts') },
  {
    name: 'rule',
    summary: 'where VMs may run: together, apart, on hosts',
    group: 'Inventory:',
    load: () => import('./nouns/rule.ts'),
  },
  { name: 'cluster', summary: 'the cluster', group: 'Inventory:', load: () => import('./nouns/cluster.ts') },
  {
    name: 'task',
    summary: 'running and past operations',
    group: 'What happens:',
    load: () => import('./nouns/task.ts'),
  },
  { name: 'event', summary: 'every change', group: 'What happens:', load: () => import('./nouns/event.ts') },
  { name: 'alarm', summary: 'what needs somebody', group: 'What happens:', load: () => import('./nouns/alarm.ts') },
  {
    name: 'notification',
    summary: 'who is told of alarms',
    group: 'What happens:',
    load: () => import('./nouns/notification.ts'),
  },
  { name: 'login', summary: 'sign in to a manager', group: 'Access:', load: () => import('./nouns/login.ts') },
  { name: 'logout', summary: 'forget the sign-in', group: 'Access:', load: () => import('./nouns/logout.ts') },
  { name: 'token', summary: 'API tokens', group: 'Access:', load: () => import('./nouns/token.ts') },
  {
    name: 'manager',
    summary: 'the manager on this machine',
    group: 'This machine:',
    load: () => import('./nouns/manager.ts'),
  },
  {
    name: 'agent',
    summary: 'the agent on this machine',
    group: 'This machine:',
    load: () => import('./nouns/agent.ts'),
  },
  {
    name: 'ft',
    summary: 'fault tolerance on this machine',
    group: 'This machine:',
    load: () => import('./nouns/ft.ts'),
  },
  {
    name: 'doctor',
    summary: 'find what is wrong with this machine, and how to mend it',
    group: 'This machine:',
    load: () => import('./nouns/doctor.ts'),
  },
  {
    name: 'completion',
    summary: 'completion of commands and names for a shell',
    group: 'This machine:',
    load: () => import('./nouns/completion.ts'),
  },
  { name: 'version', summary: 'show versions', group: 'This machine:', load: () => import('./nouns/version.ts') },
]
