/** Alarms of hosts. */
import { unreachableAfterMs } from '../cluster-view.ts'
import { hostSubject, unknown, type AlarmHost, type AlarmVm, type Condition, type Sight } from './condition.ts'

export const hostDown: Condition = {
  type: 'host-down',
  raiseAfterMs: 0,
  clearAfterMs: 10_000,
  look: ({ hosts, vms }) => hosts.flatMap((host) => downHost(host, vms)),
}

function downHost(host: AlarmHost, vms: readonly AlarmVm[]): Sight[] {
  const { name, state, maintenance, silentMs } = host
  const subject = hostSubject(host)
  // One that was emptied may be switched off.
  if (state === 'connected' || state === 'never-seen' || maintenance === 'on') return []
  // A manager that has just begun hears a host by then.
  if (silentMs < unreachableAfterMs) return [unknown(subject)]
  const count = vms.filter(({ run }) => run.host === host.id && run.phase !== 'stopped').length
  const held = count === 0 ? 'no VM is recorded on it' : `${count} VM${count === 1 ? ' is' : 's are'} recorded on it`
  const isOff = state === 'confirmed-off'
  const message = isOff
    ? `${name} is off, as was confirmed; ${held}`
    : `${name} has been out of reach for ${Math.round(silentMs / 1000)} s; ${held}`
  const mend = isOff
    ? `Repair ${name} and switch it on again, or remove it with \`holdfast host remove ${name}\`.`
    : `See whether ${name} runs and its network works. If it is surely off, \`holdfast host confirm-off ${name}\` has its VMs started elsewhere.`
  return [{ subject, severity: 'critical', message, mend }]
}

export const hostIsolated: Condition = {
  type: 'host-isolated',
  // A look that was a little late is no isolation.
  raiseAfterMs: 3000,
  clearAfterMs: 10_000,
  look: ({ hosts }) =>
    hosts.flatMap((host): Sight[] => {
      if (host.seenBy === null) return []
      return [
        {
          ...{ subject: hostSubject(host), severity: 'critical' },
          message: `${host.name} lives, and the managers do not hear it (${host.seenBy}): its network to them is broken, or its agent`,
          mend: `Mend its management network, or its agent (\`systemctl status holdfast-agent\`). Do not confirm that it is off while it lives: docs/runbooks/host-lost.md.`,
        },
      ]
    }),
}

export const fenceFailing: Condition = {
  type: 'fence-failing',
  raiseAfterMs: 0,
  clearAfterMs: 0,
  look: ({ hosts }) =>
    hosts.flatMap((host): Sight[] => {
      if (host.fenceLiedAt !== null) return [lyingFence(host, host.fenceLiedAt)]
      if (host.fenceProblem === null) return []
      const message = `what should switch ${host.name} off does not work: ${host.fenceProblem}`
      const mend = `Mend it before it is needed, then \`holdfast host fence-test ${host.name}\`: docs/runbooks/fence-failing.md.`
      return [{ subject: hostSubject(host), severity: 'warning', message, mend }]
    }),
}

/** That the devices answer says nothing: they answered when they lied. */
function lyingFence(host: AlarmHost, at: string): Sight {
  return {
    ...{ subject: hostSubject(host), severity: 'critical' },
    message: `the fence devices of ${host.name} said at ${at} that it was off, and it was not: its VMs may have run twice`,
    mend: `Look at what its VMs wrote, and take the devices away (\`holdfast host remove-fence ${host.name}\`) until it is known what they switch; set them anew, or prove them with \`fence-test --cycle\`: docs/runbooks/fence-failing.md.`,
  }
}

export const hostClockSkew: Condition = {
  type: 'host-clock-skew',
  // One report that was long on its way is no skew.
  raiseAfterMs: 10_000,
  clearAfterMs: 30_000,
  look: ({ hosts, settings }, isOpen) =>
    hosts.flatMap((host): Sight[] => {
      const subject = hostSubject(host)
      if (host.clockSkewMs === null) return [unknown(subject)]
      const limitMs = isOpen(subject) ? settings.clockSkewMs / 2 : settings.clockSkewMs
      if (Math.abs(host.clockSkewMs) <= limitMs) return []
      const seconds = (Math.abs(host.clockSkewMs) / 1000).toFixed(1)
      const where = host.clockSkewMs > 0 ? 'ahead of' : 'behind'
      const message = `the clock of ${host.name} is ${seconds} s ${where} the manager's`
      const mend = `Have a time service (chrony) run on ${host.name} and on the manager, with the same servers.`
      return [{ subject, severity: 'warning', message, mend }]
    }),
}

export const hostVersion: Condition = {
  type: 'host-version',
  // While an upgrade goes round, hosts differ for a while.
  raiseAfterMs: 10 * 60_000,
  clearAfterMs: 0,
  look: ({ hosts, version }) =>
    hosts.flatMap((host): Sight[] => {
      const subject = hostSubject(host)
      if (host.state !== 'connected' || host.agentVersion === null) return [unknown(subject)]
      if (host.agentVersion === version) return []
      const message = `the agent of ${host.name} is version ${host.agentVersion}, the manager is ${version}`
      const mend = `Upgrade Holdfast on ${host.name}; its VMs run on meanwhile.`
      return [{ subject, severity: 'warning', message, mend }]
    }),
}
