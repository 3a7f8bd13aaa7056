/** The options of `vm create` and `vm change` about starting again after the loss of a host, and how they are shown. */
import { InvalidArgumentError, type Command } from 'commander'
import type { Vm } from '../../contracts/inventory.ts'
import {
  defaultDependencySeconds,
  defaultRestartPriority,
  restartPriorities,
  type RestartPriority,
} from '../../contracts/restart-words.ts'
import type { DependencyRequest } from '../../contracts/restart.ts'
import { choice, collect, given, secondsOption } from '../options.ts'
import { durationWords } from '../output/words.ts'

export interface RestartFlags {
  readonly restartPriority?: RestartPriority
  readonly dependsOn?: DependencyRequest[] | false
}

export function addRestartOptions(command: Command, isChange: boolean): Command {
  command
    .addOption(choice('--restart-priority <level>', 'its turn after the loss of a host', restartPriorities))
    .option(
      '--depends-on <vm>',
      'start it again only once this VM is ready: VM, VM:guest-agent or VM:port=5432, with ,timeout=5min,then=start|wait (repeatable)',
      dependencyOption,
    )
  return isChange ? command.option('--no-depends-on', 'it waits for no VM') : command
}

/** `db:port=5432,timeout=2min,then=wait` as a dependency. Exported for its test. */
export function dependencyOption(text: string, before?: DependencyRequest[] | false): DependencyRequest[] {
  const [target = '', ...settings] = text.split(',')
  const [vm = '', condition] = target.split(':', 2)
  if (vm === '') throw new InvalidArgumentError('A VM is named first: db, db:guest-agent, db:port=5432.')
  const made: DependencyRequest = { vm, ...readyOf(condition) }
  return collect(given({ ...made, ...settingsOf(settings) }), before)
}

function readyOf(condition: string | undefined): Pick<DependencyRequest, 'ready' | 'port'> {
  if (condition === undefined || condition === 'running') return { ready: 'running' }
  if (condition === 'guest-agent') return { ready: 'guest-agent' }
  const port = Number(/^port=([0-9]{1,5})$/.exec(condition)?.[1])
  if (port >= 1 && port <= 65535) return { ready: 'port', port }
  throw new InvalidArgumentError(`\`${condition}\` is none of running, guest-agent, port=NUMBER.`)
}

function settingsOf(parts: readonly string[]): Pick<DependencyRequest, 'timeoutSeconds' | 'onTimeout'> {
  const found: { timeoutSeconds?: number; onTimeout?: 'start' | 'wait' } = {}
  for (const part of parts) {
    const [name, value = ''] = part.split('=', 2)
    if (name === 'timeout') found.timeoutSeconds = Math.round(secondsOption(value))
    else if (name === 'then' && (value === 'start' || value === 'wait')) found.onTimeout = value
    else throw new InvalidArgumentError(`\`${part}\` is none of timeout=TIME, then=start, then=wait.`)
  }
  return found
}

export function priorityWords(vm: Pick<Vm, 'policies'>): string {
  return vm.policies.restartPriority ?? defaultRestartPriority
}

/** A line for each VM that this one waits for. */
export function dependencyLines(vm: Pick<Vm, 'dependsOn'>, names: ReadonlyMap<string, string>): string[] {
  return (vm.dependsOn ?? []).map((each) => {
    const ready = each.ready === 'port' ? `port ${each.port ?? ''}` : each.ready
    const time = durationWords((each.timeoutSeconds ?? defaultDependencySeconds) * 1000)
    const then = each.onTimeout === 'wait' ? 'waits as long as it takes' : `starts anyway after ${time}`
    return `${names.get(each.vm) ?? each.vm}: ${ready} (${then})`
  })
}
