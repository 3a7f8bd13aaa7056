/** Alarms of datastores. */
import { formatSize } from '../../../base/units.ts'
import type { DatastoreObservation } from '../../../contracts/host.ts'
import { isMountedOn, type DatastoreView } from '../cluster-view.ts'
import {
  datastoreSubject,
  hostSubject,
  unknown,
  type AlarmHost,
  type AlarmWorld,
  type Condition,
  type Sight,
} from './condition.ts'

interface Seen {
  readonly host: AlarmHost
  /** Undefined while the host says nothing of it. */
  readonly word: DatastoreObservation | undefined
}

function wordsOn(datastore: DatastoreView, { hosts }: AlarmWorld): Seen[] {
  return hosts
    .filter((host) => isMountedOn(datastore, host.id))
    .map((host) => ({ host, word: host.datastores?.find((each) => each.datastore === datastore.id) }))
}

export const datastoreFull: Condition = {
  type: 'datastore-full',
  raiseAfterMs: 0,
  clearAfterMs: 0,
  look: (world, isOpen) =>
    world.datastores.flatMap((datastore): Sight[] => {
      const subject = datastoreSubject(datastore)
      const word = wordsOn(datastore, world).find(({ word: seen }) => seen?.isUsable === true)?.word
      if (word === undefined || word.totalBytes === 0) return [unknown(subject)]
      const { datastoreClearPercent, datastoreFullPercent } = world.settings
      const used = (1 - word.freeBytes / word.totalBytes) * 100
      // Between the two it stays as it is.
      if (isOpen(subject) ? used < datastoreClearPercent : used < datastoreFullPercent) return []
      const left = `${formatSize(word.freeBytes)} of ${formatSize(word.totalBytes)} are left`
      return [
        {
          subject,
          severity: 'warning',
          message: `the datastore ${datastore.name} is ${Math.floor(used)} % full: ${left}`,
          mend: 'Move or delete disks and images, or make it larger: a guest whose disk cannot grow is paused.',
        },
      ]
    }),
}

export const datastoreUnusable: Condition = {
  type: 'datastore-unusable',
  // A new datastore, or a host that has just begun, needs a moment.
  raiseAfterMs: 10_000,
  clearAfterMs: 10_000,
  look: (world) =>
    world.datastores.flatMap((datastore) =>
      wordsOn(datastore, world).flatMap(({ host, word }): Sight[] => {
        const [subject, place] = [datastoreSubject(datastore), hostSubject(host)]
        if (word === undefined) return [unknown(subject, place)]
        if (word.isUsable) return []
        const why = word.problem ?? 'no reason is known'
        return [
          {
            ...{ subject, place, severity: 'critical' },
            message: `the datastore ${datastore.name} cannot be used on ${host.name}: ${why}`,
            mend: `See whether ${datastore.path} is mounted on ${host.name} and answers.`,
          },
        ]
      }),
    ),
}
