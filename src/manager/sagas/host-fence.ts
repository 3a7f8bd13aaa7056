/**
 * Fences a host: switches it off from outside, so that its VMs may be started elsewhere.
 *
 *   off (a level's devices do it) ─▶ status (they say so) ─▶ confirmed (the record says so) ─▶ free (its VMs) ─▶ on
 *
 * What fails is tried again with growing pauses, for as long as the host is lost; nothing is started elsewhere before
 * `confirmed`. The record says `confirmedOff` only when the devices say off and the host has been silent since. A report of
 * the same agent after that means that the devices lie: an alarm, and nothing is started. One of another agent means that the
 * host is on again already, and speaks for itself.
 */
import { HoldfastError, toHoldfastError } from '../../base/errors.ts'
import type { HostId, TaskId } from '../../base/ids.ts'
import { hasWitness, holdsVms, isNewer, judgeSilence, markOf, type ReportMark } from '../domain/fence-plan.ts'
import type { HostRecord, Records } from '../store/records.ts'
import type { Stored } from '../store/store.ts'
import { fencingSettings, type FenceDeps } from './fence-deps.ts'
import { firstLevel, levelCount, needStatus, switchLevel, type LevelContext } from './fence-levels.ts'
import { hostEvent, recordLie, tellFenceFailed } from './fence-records.ts'
import type { Operation } from './operation.ts'
import { saga, type StepContext, type Verdict } from './saga.ts'
import { commitChanges, needHost } from './vm-records.ts'

export interface FenceHostParams {
  readonly host: HostId
  /** A person's order also holds for a host that reports, when it is forced. */
  readonly isForced: boolean
  /** A manager's: the host must still be lost, and another be there that is not, whenever something is switched. */
  readonly isAutomatic: boolean
  readonly then: 'on' | 'off'
  /** It was confirmed off when it was decided. Whoever confirms it later may work on it: it is not switched then. */
  readonly wasOff?: boolean
  /** The newest report when it was decided. */
  readonly mark: ReportMark
}

interface Off {
  readonly level: number
  /** The newest report when it was off by the devices' word. */
  readonly mark: ReportMark
  /** It reported until it was switched off. */
  readonly wasHeard: boolean
}

interface Confirmed {
  /** `rebooted`: it was on again before that could be written. */
  readonly outcome: 'off' | 'rebooted'
}

type Context<Done = unknown> = StepContext<FenceHostParams, Done, FenceDeps>

/** So long a host that reported is listened for after it was switched off: more than one report would have come. */
const listenMs = 3000
/** So long what it sent before may still be on its way. */
const inFlightMs = 250
/** A step waits no longer at a stretch for a host to be lost. */
const waitMs = 5000
const lookAgainMs = 100
const freeMs = 30_000
const switchOnPausesMs = [0, 2000, 5000] as const

export const fenceHostSaga = saga<FenceHostParams, FenceDeps>('host.fence/1')
  .step({ name: 'off', weight: 4, patienceMs: Infinity, do: (context) => orderOff(context) })
  .step({ name: 'status', weight: 2, patienceMs: Infinity, do: (context) => makeSure(context, context.done.off) })
  .commit({
    name: 'confirmed',
    do: (context) => confirm(context, context.done.status),
    settle: (context) => settleConfirm(context, context.done.status),
  })
  .step({ name: 'free', do: (context) => free(context, context.done.confirmed) })
  .step({ name: 'on', do: (context) => switchOn(context, context.done.confirmed, context.done.status) })
  .result(({ confirmed, free: freed, on, status }) => ({ ...confirmed, ...freed, ...on, level: status.level + 1 }))

/** Ready to begin. Throws `wrong-state` when the host has no device. */
export function fenceOperation(
  host: Stored<HostRecord>,
  params: Omit<FenceHostParams, 'host' | 'wasOff'>,
): Operation<FenceHostParams> {
  levelCount(host.value)
  const { id, name, confirmedOff: wasOff } = host.value
  return { saga: fenceHostSaga, params: { ...params, host: id, wasOff }, target: { kind: 'host', id, name } }
}

async function orderOff(context: Context): Promise<Off> {
  let mark: Omit<Off, 'level'> = { mark: context.params.mark, wasHeard: false }
  const level = await atLevels(context, 0, async (levels, each) => {
    mark = await switchOff(context, levels, each)
  })
  return { level, ...mark }
}

/** A level may take its time: before each it is asked again whether the host is still lost. */
async function atLevels(
  context: Context,
  first: number,
  act: (levels: LevelContext, level: number) => Promise<void>,
): Promise<number> {
  const [host, levels] = await levelContext(context)
  const each = async (level: number): Promise<void> => {
    await mustBeLost(context)
    await act(levels, level)
  }
  return firstLevel(host, first, each, (problem) => tellFailed(context, problem))
}

async function switchOff(context: Context, levels: LevelContext, level: number): Promise<Omit<Off, 'level'>> {
  const { deps, params } = context
  const isHeard = (): boolean => deps.hosts.silentMs(params.host) < listenMs
  const wasHeardBefore = isHeard()
  await switchLevel(levels, level, 'off')
  const wasHeard = wasHeardBefore || isHeard()
  if (wasHeard) await deps.clock.sleep(inFlightMs)
  return { mark: markOf(deps.hosts.report(params.host)) ?? params.mark, wasHeard }
}

/** Some devices say that they did it, and did not: then the levels after it, and then all of them again. */
async function makeSure(context: Context, off: Off): Promise<Off> {
  const [, levels] = await levelContext(context)
  const isSure = await needStatus(levels, off.level, 'off').then(
    () => true,
    () => false,
  )
  const sure = isSure ? off : await anyLevel(context, off)
  if (sure.wasHeard) await listen(context, sure.mark)
  return sure
}

async function anyLevel(context: Context, { level: tried, ...before }: Off): Promise<Off> {
  let mark: Omit<Off, 'level'> = before
  const level = await atLevels(context, tried + 1, async (levels, each) => {
    mark = await switchOff(context, levels, each)
    await needStatus(levels, each, 'off')
  })
  return { level, ...mark }
}

/** A host that spoke until it was switched off would speak again by now if it were not. */
async function listen({ deps, params, signal }: Context, mark: ReportMark): Promise<void> {
  const until = deps.clock.monotonic() + listenMs
  while (deps.clock.monotonic() < until && !isNewer(mark, deps.hosts.report(params.host))) {
    await deps.clock.sleep(lookAgainMs, signal)
  }
}

/** Tells people why it does not succeed, whenever the reason changes. */
async function tellFailed({ deps, params, task, signal }: Context, problem: string): Promise<void> {
  if (!signal.aborted) await tellFenceFailed(deps, params.host, task, problem)
}

/**
 * A manager that goes on with what another began knows nothing of the host yet: it waits its own whole term for a report.
 * Throws `wrong-state` when the host has reported since it was to be fenced, or people want it otherwise by now, and
 * `unreachable` to be asked again.
 */
async function mustBeLost({ deps, params, signal }: Context): Promise<void> {
  await mustBeWanted(deps, params)
  if (params.isForced) return
  const until = deps.clock.monotonic() + waitMs
  for (;;) {
    const record = await needHost(deps, params.host)
    if (isNewer(params.mark, deps.hosts.report(params.host))) {
      throw new HoldfastError('wrong-state', `${record.name} has reported again: it is not switched off`)
    }
    if (!params.isAutomatic || (await isLost(deps, params.host))) return
    if (deps.clock.monotonic() > until) {
      throw new HoldfastError(
        'unreachable',
        `it is not certain yet that ${record.name} is lost, and this manager is not`,
      )
    }
    await deps.clock.sleep(lookAgainMs, signal)
  }
}

/** A fencing that fails is tried again for hours, and people may not wait for it. */
async function mustBeWanted(deps: FenceDeps, { host, isAutomatic, wasOff }: FenceHostParams): Promise<void> {
  const { name, confirmedOff, maintenance } = await needHost(deps, host)
  const isIdle = maintenance === 'on' && !holdsVms(host, deps.runs())
  const isForPeople = isAutomatic && (isIdle || !(await fencingSettings(deps)).automatic)
  if (confirmedOff && wasOff !== true) {
    throw new HoldfastError('wrong-state', `${name} was confirmed off meanwhile: it is not switched`)
  }
  if (isForPeople)
    throw new HoldfastError('wrong-state', `${name} is to be fenced by people alone: it is not switched off`)
}

async function isLost(deps: FenceDeps, host: HostId): Promise<boolean> {
  const { afterMs } = await fencingSettings(deps)
  const hosts = (await deps.store.list('host')).items.map(({ value }) => ({
    id: value.id,
    isKnown: value.facts !== null,
    silentMs: deps.hosts.silentMs(value.id),
    steadyMs: deps.hosts.steadyMs(value.id),
  }))
  return deps.hosts.silentMs(host) >= afterMs && hasWitness(host, hosts)
}

async function levelContext({ deps, params, signal }: Context): Promise<[HostRecord, LevelContext]> {
  const host = await needHost(deps, params.host)
  return [host, { deps, host, timeoutMs: (await fencingSettings(deps)).agentTimeoutMs, signal }]
}

/** Throws `refused` when the host goes on speaking: whatever the device says, it is not off. */
async function confirm({ deps, params, task }: Context, off: Off): Promise<Confirmed> {
  const judged = judgeSilence(off.mark, deps.hosts.report(params.host))
  if (judged === 'lied') return lied(deps, params.host, task)
  if (judged === 'rebooted') return { outcome: 'rebooted' }
  await writeOff(deps, params.host, task, off)
  // It may have reported while that was written.
  const after = judgeSilence(off.mark, deps.hosts.report(params.host))
  if (after === 'silent') {
    deps.markOff(params.host, off.mark)
    return { outcome: 'off' }
  }
  await takeBack(deps, params.host)
  return after === 'lied' ? lied(deps, params.host, task) : { outcome: 'rebooted' }
}

async function settleConfirm(context: Context, off: Off): Promise<Verdict<Confirmed>> {
  try {
    const { fencedBy } = await needHost(context.deps, context.params.host)
    const isWritten = fencedBy?.task === context.task
    if (!isWritten) return { verdict: 'committed', output: await confirm(context, off) }
    const judged = judgeSilence(off.mark, context.deps.hosts.report(context.params.host))
    if (judged === 'silent') context.deps.markOff(context.params.host, off.mark)
    return { verdict: 'committed', output: { outcome: judged === 'silent' ? 'off' : 'rebooted' } }
  } catch (thrown) {
    const error = toHoldfastError(thrown)
    if (error.code !== 'refused' && error.code !== 'not-found') throw thrown
    return { verdict: 'not-committed', code: error.code, reason: error.message }
  }
}

async function writeOff(deps: FenceDeps, host: HostId, task: TaskId, { level, mark }: Off): Promise<void> {
  await commitChanges(deps, async () => {
    const stored = await deps.store.get('host', host)
    if (stored === undefined) throw new HoldfastError('not-found', `There is no host ${host}`)
    const before = stored.value
    const fencedBy = { task, session: mark?.session ?? null }
    const value: HostRecord = { ...before, confirmedOff: true, fencedBy }
    const agents = before.fence?.levels[level]?.map(({ agent }) => agent).join(' and ') ?? 'its fence devices'
    const words = `${before.name} was switched off by ${agents}; its VMs may be started elsewhere`
    return {
      changes: [{ do: 'update', kind: 'host', value, expected: stored.revision }],
      events: [hostEvent('host.fenced', before, words, task, { level: level + 1 })],
    }
  })
}

async function takeBack(deps: FenceDeps, host: HostId): Promise<void> {
  await commitChanges(deps, async () => {
    const stored = await deps.store.get('host', host)
    if (stored === undefined || !stored.value.confirmedOff) return undefined
    const value: HostRecord = { ...stored.value, confirmedOff: false }
    return [{ do: 'update', kind: 'host', value, expected: stored.revision }]
  })
}

async function lied(deps: FenceDeps, host: HostId, task: TaskId): Promise<never> {
  const { name } = await needHost(deps, host)
  const words = `the fence devices of ${name} say that it is off, and it goes on reporting: they are another machine's, or they lie. None of its VMs is started elsewhere`
  await recordLie(deps, host, task, words)
  throw new HoldfastError('refused', words, { mend: 'See docs/runbooks/fence-failing.md.', runbook: 'fence-failing' })
}

/** The VMs' records are freed by the reconciler confirmed-off. VMs with an arbiter, and moves, have their own judges. */
async function free({ deps, params }: Context, { outcome }: Confirmed): Promise<{ freed: number }> {
  if (outcome !== 'off') return { freed: 0 }
  const until = deps.clock.monotonic() + freeMs
  let most = 0
  for (let pauseMs = 10; ; pauseMs = Math.min(2 * pauseMs, 500)) {
    const isLeft = ({ run }: Records['run']): boolean =>
      run.phase === 'running' && run.host === params.host && !run.protection
    const left = deps.runs().filter(isLeft).length
    most = Math.max(most, left)
    const isFree = left === 0 || deps.clock.monotonic() > until
    deps.lookNow(isFree ? 'vm-power' : 'confirmed-off')
    if (isFree) return { freed: most - left }
    await deps.clock.sleep(pauseMs)
  }
}

/** What does not come on again is for a person to look at: that it is off does no harm. */
async function switchOn(context: Context, { outcome }: Confirmed, off: Off): Promise<{ isOn: boolean }> {
  const { deps, params, task } = context
  if (outcome !== 'off' || params.then !== 'on') return { isOn: outcome === 'rebooted' }
  let problem = ''
  for (const pauseMs of switchOnPausesMs) {
    if (pauseMs > 0) await deps.clock.sleep(pauseMs)
    try {
      const [host, levels] = await levelContext(context)
      await switchLevel(levels, off.level, 'on')
      const event = hostEvent('host.switched-on', host, `${host.name} was switched on again`, task)
      await deps.store.commit({ changes: [], events: [event] })
      return { isOn: true }
    } catch (thrown) {
      problem = toHoldfastError(thrown).message
    }
  }
  const host = (await deps.store.get('host', params.host))?.value
  if (host === undefined) return { isOn: false }
  const words = `${host.name} was fenced and could not be switched on again: ${problem}`
  await deps.store.commit({ changes: [], events: [hostEvent('host.switch-on-failed', host, words, task)] })
  return { isOn: false }
}
