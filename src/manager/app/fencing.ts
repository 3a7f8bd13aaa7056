/** Fence devices: set, removed, tried, and used by hand; and when they are used by themselves. */
import { HoldfastError } from '../../base/errors.ts'
import type { HostId, TaskId } from '../../base/ids.ts'
import type { ChangeFencing, FenceHost, FenceTest, FencingSettings, SetHostFence } from '../../contracts/fence.ts'
import { canonicalJson } from '../../contracts/digest.ts'
import { checkOptions, isSecretOption } from '../domain/fence-agent-api.ts'
import { markOf } from '../domain/fence-plan.ts'
import type { SagaEngine } from '../sagas/engine.ts'
import { fencingSettings, type FenceDeps } from '../sagas/fence-deps.ts'
import { levelCount } from '../sagas/fence-levels.ts'
import { askDevices, problemOf, testFence } from '../sagas/fence-test.ts'
import { fenceCycleOperation } from '../sagas/host-fence-cycle.ts'
import { fenceOperation } from '../sagas/host-fence.ts'
import { beginOperation } from '../sagas/operation.ts'
import type { FenceDeviceRecord, HostFenceRecord, HostRecord } from '../store/records.ts'
import { isoTime } from '../../base/clock.ts'
import type { AppContext, Caller } from './context.ts'
import { needParts, secretContext, type FencingParts } from './fence-devices.ts'
import { need, newEvent, subjectOf, write } from './write.ts'

const mostLevels = 8
const mostDevices = 8

export class Fencing {
  readonly #context: AppContext
  readonly #engine: SagaEngine
  readonly #deps: FenceDeps
  readonly #parts: FencingParts | undefined

  constructor(context: AppContext, engine: SagaEngine, deps: FenceDeps, parts: FencingParts | undefined) {
    this.#context = context
    this.#engine = engine
    this.#deps = deps
    this.#parts = parts
  }

  /** Refused with what the agent knows when an option is unknown, and when the device does not answer. */
  async set(id: string, wish: SetHostFence, caller: Caller): Promise<void> {
    const { store, clock } = this.#context
    const host = (await need(store, 'host', id)).value
    const device = await this.#deviceOf(host.id, wish)
    // All of them, as the outcome is that of the host: what is added says nothing of the others.
    const test = await askDevices(this.#deps, host, withDevice(host.fence?.levels ?? [], device, wish.level))
    const own = test.devices.filter(({ level }) => level === (wish.level ?? 1)).slice(-1)
    const refusal = problemOf({ devices: own })
    if (refusal !== null && wish.untested !== true) {
      throw new HoldfastError('refused', `the device cannot be used: ${refusal}`, {
        mend: 'Mend what it says. `--untested` sets it all the same.',
      })
    }
    await write(store, async () => {
      const { value, revision } = await need(store, 'host', id)
      const levels = withDevice(value.fence?.levels ?? [], device, wish.level)
      const isAdded = value.fence != null && levels.flat().length > value.fence.levels.flat().length
      const fence: HostFenceRecord = {
        levels,
        then: wish.then ?? value.fence?.then ?? 'on',
        test: { problem: problemOf(test), testedAt: isoTime(clock.now()) },
        lied: isAdded ? (value.fence.lied ?? null) : null,
      }
      const words = `${value.name} can be fenced by ${device.agent}`
      return {
        changes: [{ do: 'update', kind: 'host', value: { ...value, fence }, expected: revision }],
        events: [newEvent('host.fence-set', subjectOf('host', value), words, { by: caller.name, agent: device.agent })],
        value: undefined,
      }
    })
  }

  async #deviceOf(host: HostId, { agent, options = {}, secrets = {} }: SetHostFence): Promise<FenceDeviceRecord> {
    const { fencer, sealed } = needParts(this.#parts)
    const metadata = await fencer.metadata(agent)
    checkOptions(agent, [...Object.keys(options), ...Object.keys(secrets)], metadata)
    const isSecret = ([name]: [string, string]): boolean => isSecretOption(name)
    const hidden = [...Object.entries(options).filter(isSecret), ...Object.entries(secrets)]
    return {
      agent,
      options: Object.fromEntries(Object.entries(options).filter((each) => !isSecret(each))),
      secrets: Object.fromEntries(
        hidden.map(([name, value]) => [name, sealed.seal(value, secretContext(host, agent, name))]),
      ),
    }
  }

  /** All devices, or those of one level; the levels after it move up. */
  async remove(id: string, level: number | undefined, caller: Caller): Promise<void> {
    const { store } = this.#context
    await write(store, async () => {
      const { value, revision } = await need(store, 'host', id)
      const before = value.fence?.levels ?? []
      if (level !== undefined && before[level - 1] === undefined) {
        throw new HoldfastError('not-found', `${value.name} has no fence devices of level ${level}`)
      }
      if (before.length === 0) return { changes: [], value: undefined }
      const levels = level === undefined ? [] : before.filter((_, at) => at !== level - 1)
      const fence = levels.length === 0 || value.fence == null ? null : { ...value.fence, levels }
      const next: HostRecord = { ...value, fence }
      const words =
        fence === null ? `${value.name} cannot be fenced any more` : `${value.name} lost a level of fence devices`
      return {
        changes: [{ do: 'update', kind: 'host', value: next, expected: revision }],
        events: [newEvent('host.fence-removed', subjectOf('host', value), words, { by: caller.name })],
        value: undefined,
      }
    })
  }

  /** Off, now. Refused with `wrong-state` while the host reports, unless forced. */
  fence(id: string, { force = false, then = 'off' }: FenceHost, caller: Caller): Promise<TaskId> {
    const { store, registry } = this.#context
    return beginOperation(this.#engine, caller, async () => {
      const stored = await need(store, 'host', id)
      const { name } = stored.value
      if (registry.isConnected(stored.value.id) && !force) {
        throw new HoldfastError('wrong-state', `${name} is connected: it would be switched off under its VMs`, {
          mend: `To empty it first: holdfast host maintenance ${name}. To switch it off all the same: --force.`,
        })
      }
      const mark = markOf(registry.report(stored.value.id))
      return fenceOperation(stored, { isForced: force, isAutomatic: false, then, mark })
    })
  }

  cycle(id: string, caller: Caller): Promise<TaskId> {
    const { store } = this.#context
    return beginOperation(this.#engine, caller, async () => {
      const runs = (await store.list('run')).items.map(({ value }) => value)
      return fenceCycleOperation(await need(store, 'host', id), runs)
    })
  }

  async test(id: string): Promise<FenceTest> {
    const { value } = await need(this.#context.store, 'host', id)
    levelCount(value)
    return await testFence(this.#deps, value)
  }

  settings(): Promise<FencingSettings> {
    return fencingSettings(this.#deps)
  }

  async change(wish: ChangeFencing, caller: Caller): Promise<FencingSettings> {
    const { store } = this.#context
    await write(store, async () => {
      const stored = (await store.list('cluster')).items[0]
      if (stored === undefined) throw new HoldfastError('internal', 'the inventory has no cluster')
      const value = { ...stored.value, fencing: { ...stored.value.fencing, ...wish } }
      if (Object.keys(wish).length === 0) return { changes: [], value: undefined }
      const words = `${caller.name} changed when lost hosts are fenced`
      return {
        changes: [{ do: 'update', kind: 'cluster', value, expected: stored.revision }],
        events: [newEvent('cluster.fencing-changed', subjectOf('cluster', value), words, { ...wish })],
        value: undefined,
      }
    })
    return this.settings()
  }
}

/** Without a level the device is the only one. One with the same agent and options takes its equal's place; it is its level's last. */
function withDevice(
  levels: HostFenceRecord['levels'],
  device: FenceDeviceRecord,
  level: number | undefined,
): HostFenceRecord['levels'] {
  if (level === undefined) return [[device]]
  if (level > levels.length + 1 || level > mostLevels) {
    throw new HoldfastError('invalid-request', `level ${level} would leave a gap: there are ${levels.length} so far`, {
      mend: `Use a level from 1 to ${Math.min(levels.length + 1, mostLevels)}.`,
    })
  }
  const key = ({ agent, options }: FenceDeviceRecord): string => canonicalJson({ agent, options })
  const others = (levels[level - 1] ?? []).filter((each) => key(each) !== key(device))
  if (others.length >= mostDevices)
    throw new HoldfastError('invalid-request', `a level has at most ${mostDevices} devices`)
  const next = [...levels]
  next[level - 1] = [...others, device]
  return next
}
