/**
 * Renews one host of a roll (cluster-upgrade.ts):
 *
 *   note ─▶ enter ─▶ evacuate ─▶ empty ─▶ renew ─▶ back ─▶ leave ─▶ return ─▶ in-step
 *                                          │ the host's own program, or a person
 *
 * What fails before the renewal takes the host out of maintenance again. From `renew` on it stays in maintenance, whatever
 * fails: somebody has to look at it; only a cancel that comes while nobody works on it takes it out. From `leave` on it is
 * in use, and what fails is only said.
 */
import { describeError, HoldfastError } from '../../base/errors.ts'
import type { HostId, TaskId } from '../../base/ids.ts'
import type { HostReport } from '../../contracts/host.ts'
import type { HostVersions } from '../store/records.ts'
import { hostConfiguration } from '../domain/host-configuration.ts'
import { evacuate, setMaintenance } from './host-maintenance.ts'
import { abandonRenewal, enterRenewal, leaveRenewal, setRenewalPhase, versionsOf } from './host-renewal-records.ts'
import type { HostUpgradeDeps, HostUpgradeParams } from './host-upgrade-deps.ts'
import { awaitInStep, protectedVms, returnVms, whereTheyWent, type WentTo } from './host-upgrade-vms.ts'
import type { Operation } from './operation.ts'
import { saga, type StepContext } from './saga.ts'
import { needHost } from './vm-records.ts'

/** The host at the moment when it was empty. */
interface Before {
  /** By the wall clock, as it is to be known by another manager. */
  readonly at: number
  /** Of its agent: one that begins anew has another. */
  readonly session: string
  readonly versions: HostVersions
  readonly accelerator: 'kvm' | 'tcg'
  readonly datastores: readonly string[]
  readonly networks: readonly string[]
  readonly went: readonly WentTo[]
}

type Context = StepContext<HostUpgradeParams, { readonly empty: Before }, HostUpgradeDeps>

const lookAgainMs = 1000
const steadyMs = 10_000
/** Two intervals of reports. */
const heardWithinMs = 4000
/** These steps take as long as they take: a store that is away for a moment on the third day ends nothing. */
export const patienceMs = 30 * 86_400_000

export const upgradeHostSaga = saga<HostUpgradeParams, HostUpgradeDeps>('host.upgrade/1')
  .step({
    name: 'note',
    do: async ({ params, deps }) => {
      const { vms } = await deps.cluster()
      const here = vms.filter(({ run }) => run.phase === 'running' && run.host === params.host).map(({ id }) => id)
      return { here, protected: protectedVms(vms) }
    },
  })
  .step({
    name: 'enter',
    do: async ({ params, deps, task }) => {
      await enterRenewal(deps, params.host, task)
      return null
    },
    undo: ({ params, deps, task }) => abandonRenewal(deps, params.host, task),
  })
  .step({ name: 'evacuate', weight: 20, patienceMs, do: evacuate })
  .step({
    name: 'empty',
    do: async ({ params, deps, done }) => {
      await setMaintenance(deps, params.host, 'on')
      return hostBefore(deps, params.host, await whereTheyWent(deps, done.note.here, params.host))
    },
  })
  .step({
    name: 'renew',
    weight: 20,
    patienceMs,
    do: renew,
    undo: async ({ params, deps, task }) => {
      const isCancelled = (await deps.store.get('task', task))?.value.cancelAsked === true
      // A person who works on it cannot be asked.
      if (!isCancelled || params.isByHand || (await isBeingRenewed(deps, params.host, task))) return
      await setRenewalPhase(deps, params.host, task, 'emptying')
    },
  })
  .step({ name: 'back', weight: 10, patienceMs, do: awaitBack })
  .step({
    name: 'leave',
    do: async ({ params, deps, task, done }) => {
      await leaveRenewal(deps, params.host, task, { from: done.empty.versions, to: done.back })
      return null
    },
  })
  .step({ name: 'return', weight: 20, patienceMs, do: (context) => returnVms(context, context.done.empty.went) })
  .step({ name: 'in-step', weight: 5, patienceMs, do: (context) => awaitInStep(context, context.done.note.protected) })
  .result((done) => ({
    ...{ moved: done.empty.went.length, back: done.return.back, stayed: done.return.stayed },
    ...{ alone: done['in-step'].alone },
    ...{ from: done.empty.versions, to: done.back },
  }))

/** As a task of the roll. */
export function upgradeHostOperation(params: HostUpgradeParams, name: string): Operation<HostUpgradeParams> {
  return { saga: upgradeHostSaga, params, target: { kind: 'host', id: params.host, name } }
}

async function hostBefore(deps: HostUpgradeDeps, host: HostId, went: readonly WentTo[]): Promise<Before> {
  const report = deps.hosts.report(host)
  if (report === undefined) throw new HoldfastError('unreachable', `${host} has not been heard of yet`)
  return {
    ...{ at: deps.clock.now(), session: report.session, versions: versionsOf(report.facts), went },
    accelerator: report.facts.accelerator.kind,
    datastores: report.datastores.filter(({ isUsable }) => isUsable).map(({ datastore }) => datastore),
    networks: report.networks.filter(({ isUp }) => isUp).map(({ network }) => network),
  }
}

/**
 * Whether its program may be at work on the host now, or has left it half done: so it is unless the host itself says that nothing
 * was begun. One that has ended well may have the machine begin anew.
 */
async function isBeingRenewed(deps: HostUpgradeDeps, host: HostId, task: TaskId): Promise<boolean> {
  try {
    const { upgrade } = await deps.hosts.agent(host).report()
    return upgrade?.task === task
  } catch (thrown) {
    deps.log.info(
      { host, err: describeError(thrown) },
      'whether its renewal was begun cannot be told: it stays in maintenance',
    )
    return true
  }
}

/** The host's program has done its work; by hand there is nothing to start, and a person is waited for in `back`. */
async function renew(context: Context): Promise<null> {
  const { params, deps, task } = context
  await setRenewalPhase(deps, params.host, task, 'renewing')
  if (params.isByHand) return null
  await until(context, () => programProblem(context), 0)
  return null
}

/** What is missing until the program has ended well. Throws when it never will. */
async function programProblem({ params, deps, task }: Context): Promise<string | undefined> {
  const host = await needHost(deps, params.host)
  const upgrade = deps.hosts.report(params.host)?.upgrade
  if (upgrade?.task === task && upgrade.state === 'ended') {
    if (upgrade.code === 0) return undefined
    const how = upgrade.code === null ? 'was ended, nobody knows how' : `failed (exit code ${upgrade.code})`
    const said = upgrade.lastLines === '' ? '' : `. Its last words:\n${upgrade.lastLines}`
    throw new HoldfastError('host-error', `the program that renews ${host.name} ${how}${said}`, {
      mend: `Look at upgrade.log in the agent's data folder of ${host.name}. When it is mended, take it out of maintenance (holdfast host maintenance ${host.name} --leave) and begin again; hosts that are done can be left out (--host).`,
    })
  }
  if (deps.hosts.stateOf(host) !== 'connected') return 'it does not answer'
  if (upgrade?.task === task) return 'its program runs'
  return await startProgram(deps, params.host, task)
}

/** What its agent says to it. One that still sees the last of a VM, or another program, is asked again. */
async function startProgram(deps: HostUpgradeDeps, host: HostId, task: TaskId): Promise<string> {
  const agent = deps.hosts.agent(host)
  try {
    // It must know that it is in maintenance before it agrees.
    await agent.configure(hostConfiguration(await deps.cluster(), host))
    await agent.startUpgrade({ task })
    return 'its program runs'
  } catch (thrown) {
    if (thrown instanceof HoldfastError && (thrown.isUnknown || thrown.code === 'wrong-state')) return thrown.message
    // It may be known only after the program has begun.
    if (!(await isBeingRenewed(deps, host, task))) await setRenewalPhase(deps, host, task, 'emptying')
    if (!(thrown instanceof HoldfastError) || thrown.code !== 'not-found') throw thrown
    throw new HoldfastError('refused', 'its agent is older than this way to renew it', {
      mend: 'Renew it by hand this time: holdfast cluster upgrade --by-hand.',
    })
  }
}

/** The host is there again, renewed, with all that it had, and stays so for a while. What it is now. */
async function awaitBack(context: Context): Promise<HostVersions> {
  const { params, deps, done } = context
  await until(context, () => absence(context), steadyMs)
  const report = deps.hosts.report(params.host)
  return report === undefined ? done.empty.versions : versionsOf(report.facts)
}

async function absence({ params, deps, done }: Context): Promise<string | undefined> {
  const record = await needHost(deps, params.host)
  if (record.maintenance === 'off') {
    throw new HoldfastError('wrong-state', `${record.name} was taken out of maintenance before it was renewed`)
  }
  const report = deps.hosts.report(params.host)
  // Sooner than a host counts as lost: one that is going down for its own reboot is not back.
  const isSilent = deps.hosts.silentMs(params.host) > heardWithinMs
  if (report === undefined || isSilent || deps.hosts.stateOf(record) !== 'connected') return 'it does not answer'
  if (report.session === done.empty.session) {
    const by = params.isByHand ? 'renew it, then start its agent anew' : 'its program has not started the agent anew'
    return `its agent is the one from before: ${by}`
  }
  return lack(report, done.empty)
}

/** What a host has lost by its renewal. */
function lack({ facts, datastores, networks }: HostReport, before: Before): string | undefined {
  if (facts.qemu.version === '') return 'it has no QEMU'
  if (before.accelerator === 'kvm' && facts.accelerator.kind !== 'kvm') {
    return `it does not use KVM any more (${facts.accelerator.reason})`
  }
  for (const id of before.datastores) {
    const now = datastores.find(({ datastore }) => datastore === id)
    if (now?.isUsable !== true) return `its datastore ${id} cannot be used${because(now?.problem)}`
  }
  for (const id of before.networks) {
    const now = networks.find(({ network }) => network === id)
    if (now?.isUp !== true) return `its network ${id} is not there${because(now?.problem)}`
  }
  return undefined
}

function because(problem: string | null | undefined): string {
  return problem === null || problem === undefined ? '' : `: ${problem}`
}

/** Looks until nothing is missing, for so long. Throws when the host's time is over, with what is missing. */
async function until(context: Context, missing: () => Promise<string | undefined>, forMs: number): Promise<void> {
  const { deps, params, done, signal, progress } = context
  let since: number | undefined
  for (;;) {
    signal.throwIfAborted()
    const what = await missing()
    const now = deps.clock.monotonic()
    since = what === undefined ? (since ?? now) : undefined
    if (since !== undefined && now - since >= forMs) return
    progress(0, { phase: what ?? 'it is back; whether it stays so' })
    if (!params.isByHand && deps.clock.now() - done.empty.at > params.timeoutSeconds * 1000) {
      const { name } = await needHost(deps, params.host)
      throw new HoldfastError(
        'host-error',
        `${name} is not back ${params.timeoutSeconds} s after it was emptied: ${what ?? 'it is not steady'}`,
        {
          mend: `It stays in maintenance. When it is mended: holdfast host maintenance ${name} --leave, and begin again.`,
        },
      )
    }
    await deps.clock.sleep(lookAgainMs, signal).catch(() => undefined)
  }
}
