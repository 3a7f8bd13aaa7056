/**
 * What happens in a scenario, line by line with its virtual instant: what the manager tells (its events), what really is
 * (`runs VM HOST`, `stands VM HOST`), what comes to fence devices, and what the steps did. words.ts says how lines look.
 */
import type { TaskRecord } from '../../manager/store/records.ts'
import type { Commit, NewEvent } from '../../manager/store/store.ts'
import type { SimulatedCluster } from '../cluster/simulated-cluster.ts'
import { doesMatch } from './words.ts'

export interface Line {
  readonly atMs: number
  readonly words: readonly string[]
  /** The event's sentence. */
  readonly says: string
}

export class ScenarioLog {
  readonly lines: Line[] = []
  /** VM → lives that it began. */
  readonly boots = new Map<string, Set<number>>()
  readonly #world: SimulatedCluster
  readonly #nameOf: (vm: string) => string
  #beginMs: number | undefined

  constructor(world: SimulatedCluster, nameOf: (vm: string) => string) {
    this.#world = world
    this.#nameOf = nameOf
    world.store.faults.afterCommit = (commit, result) => (result.ok ? this.#take(commit) : undefined)
    world.truth.onRun = (guest, isRunning) => {
      const { host, config, memory } = guest
      if (isRunning) this.boots.set(config.name, (this.boots.get(config.name) ?? new Set()).add(memory.boot))
      this.add([isRunning ? 'runs' : 'stands', this.#nameOf(config.name), this.#hostAt(host)])
    }
    world.fences.onAction = (action) => this.add(['fence', ...action.split(' ')])
  }

  /** The first step comes: time is counted from here, and what came before is forgotten. */
  begin(): void {
    this.#beginMs = this.#world.clock.elapsedMs
    this.lines.length = 0
  }

  /** Virtual milliseconds since the first step. */
  get nowMs(): number {
    return this.#world.clock.elapsedMs - (this.#beginMs ?? this.#world.clock.elapsedMs)
  }

  add(words: readonly string[], says = ''): void {
    this.lines.push({ atMs: this.nowMs, words, says })
  }

  /** Whether a line from this one on matches. */
  has(pattern: string, from = 0): boolean {
    return this.lines.slice(from).some(({ words }) => doesMatch(pattern, words))
  }

  #take({ changes, events }: Commit): void {
    for (const event of events) {
      const task = changes.find(
        (change) => change.kind === 'task' && 'value' in change && change.value.id === event.task,
      )
      const record = task !== undefined && 'value' in task ? (task.value as TaskRecord) : undefined
      this.add(this.#wordsOf(event, record), event.message)
    }
  }

  #wordsOf({ type, subject, data }: NewEvent, task: TaskRecord | undefined): string[] {
    const name = (subject?.name ?? '').replaceAll(' ', '-')
    const word = (value: unknown): string[] => (typeof value === 'string' && value !== '' ? [value] : [])
    if (type.startsWith('alarm.')) return [type, ...word(data['type']), name, ...this.#hostOf(data['place'])]
    if (type.startsWith('task.')) {
      const operation = task?.saga.split('/')[0] ?? '?'
      return [type, operation, (task?.target?.name ?? name).replaceAll(' ', '-'), ...word(data['state'])]
    }
    if (type === 'vm.stopped') return [type, name, ...word(data['cause'])]
    if (type === 'vm.restart-waits') return [type, name, ...word(data['code'])]
    if (type === 'vm.host-lost') return [type, name, ...this.#hostOf(data['from'])]
    if (type.startsWith('vm.')) return [type, name, ...this.#hostOf(data['target'] ?? data['host'])]
    return [type, name, ...word(data['reason'])].filter((each) => each !== '')
  }

  #hostOf(id: unknown): string[] {
    if (typeof id !== 'string') return []
    return [this.#world.hosts.find((host) => host.id === id)?.name ?? id]
  }

  #hostAt(address: string): string {
    return this.#world.hosts.find((host) => host.address === address)?.name ?? address
  }
}

/** As it is printed. */
export function lineText({ atMs, words, says }: Line): string {
  const text = `${(atMs / 1000).toFixed(3).padStart(9)}  ${words.join(' ')}`
  return says === '' ? text : `${text.padEnd(56)}  ${says}`
}
