/** Every condition of which there are alarms. docs/alarms.md says of each what people are to know. */
import { certificateEnding } from './certificate-conditions.ts'
import { managerSilent, roomNotKept, storeMemberLost } from './cluster-conditions.ts'
import type { Condition } from './condition.ts'
import { datastoreFull, datastoreUnusable } from './datastore-conditions.ts'
import { fenceFailing, hostClockSkew, hostDown, hostIsolated, hostVersion } from './host-conditions.ts'
import { clockBehind, undecided, unprotected } from './protection-conditions.ts'
import { taskStuck } from './task-conditions.ts'
import { guestGivenUp, outOfSpace, restartPaused, vmDown, vmRestarted } from './vm-conditions.ts'

export const conditions: readonly Condition[] = [
  hostDown,
  hostIsolated,
  fenceFailing,
  hostClockSkew,
  hostVersion,
  datastoreFull,
  datastoreUnusable,
  taskStuck,
  vmDown,
  vmRestarted,
  restartPaused,
  outOfSpace,
  guestGivenUp,
  unprotected,
  undecided,
  clockBehind,
  certificateEnding,
  managerSilent,
  storeMemberLost,
  roomNotKept,
]
