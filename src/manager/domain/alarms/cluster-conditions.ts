/** Alarms of the cluster itself: its managers, and the room that is kept for failures. */
import { unreachableAfterMs } from '../cluster-view.ts'
import { unknown, type Condition, type Sight } from './condition.ts'

export const managerSilent: Condition = {
  type: 'manager-silent',
  // A restart takes less.
  raiseAfterMs: 20_000,
  clearAfterMs: 5000,
  look: ({ managers }) =>
    managers.flatMap(({ id, name, isSilent }): Sight[] => {
      if (!isSilent) return []
      return [
        {
          ...{ subject: { kind: 'manager', id, name }, severity: 'warning' },
          message: `the manager ${name} says nothing: it is one fewer to go on when the one that leads is lost`,
          mend: `See whether its machine runs (\`systemctl status holdfast-manager\`). If it is gone for good, \`holdfast manager remove ${name}\`.`,
        },
      ]
    }),
}

export const storeMemberLost: Condition = {
  type: 'store-member-lost',
  // It is looked at every five seconds; a restart of it takes less.
  raiseAfterMs: 20_000,
  clearAfterMs: 5000,
  look: ({ storeMembers }) =>
    storeMembers.flatMap(({ url, problem }): Sight[] => {
      if (problem === null) return []
      const lost = storeMembers.filter((member) => member.problem !== null).length
      return [
        {
          ...{ subject: { kind: 'store-member', id: url, name: url }, severity: 'warning' },
          message: `the member of etcd at ${url} is of no use (${problem}); ${lost} of ${storeMembers.length} are so, and more than half must be well for anything to be changed`,
          mend: `See whether etcd runs there and has room on its disk (\`systemctl status etcd\`, \`etcdctl endpoint status\`), and mend or replace it: docs/managers.md.`,
        },
      ]
    }),
}

export const roomNotKept: Condition = {
  type: 'room-not-kept',
  // A VM that moves counts on both hosts for a while.
  raiseAfterMs: 60_000,
  clearAfterMs: 30_000,
  look: ({ room, hosts }) => {
    if (room === null) return []
    const { subject, problem } = room
    if (problem === null) return []
    // Without the word of a host that is about to be heard its room is missing.
    if (hosts.some(({ state, silentMs }) => state !== 'connected' && silentMs < unreachableAfterMs))
      return [unknown(subject)]
    const message = `admission control is not kept: ${problem}`
    const mend =
      'Bring back hosts that are lost or in maintenance, stop or shrink VMs, or add a host; `holdfast cluster admission` has the figures.'
    return [{ subject, severity: 'warning', message, mend }]
  },
}
