/** Alarms and their delivery, put together for a manager. */
import { HoldfastError } from '../../base/errors.ts'
import { noMailer, type Mailer } from '../../base/mailer.ts'
import type { Network } from '../../base/network.ts'
import { Alarms } from '../reconcilers/alarms/alarms.ts'
import { Deliveries } from '../reconcilers/alarms/deliveries.ts'
import type { Reconciler } from '../reconcilers/deps.ts'
import { AlarmDesk } from './alarms.ts'
import { alarmWorld, RoomLooks, type AlarmWorldParts } from './alarm-world.ts'
import { CertificateEnds, type OwnCertificate } from './certificate-ends.ts'
import type { AppContext } from './context.ts'
import type { CertificateSigner } from './joins.ts'
import { NotificationTargets } from './notification-targets.ts'
import { cannotSeal, sealedBy, type Sealed } from './sealed.ts'
import { tellTarget } from './tell-target.ts'

/** What alarms need of the outside. A manager that serves nobody has none of it, and tells nobody. */
export interface AlarmOptions {
  readonly network?: Pick<Network, 'request'>
  readonly mailer?: Mailer
  /** This manager's own certificates, as they are now. */
  readonly certificates?: () => readonly OwnCertificate[]
}

export interface AlarmParts {
  readonly alarms: AlarmDesk
  readonly notificationTargets: NotificationTargets
  readonly certificateEnds: CertificateEnds
  /** To be run where the lead is. */
  readonly reconcilers: (managers: AlarmWorldParts['managers']) => Reconciler[]
}

const noNetwork: NonNullable<AlarmOptions['network']> = {
  request: () => Promise.reject(new HoldfastError('unreachable', 'this manager has no network')),
}

export function alarmParts(context: AppContext, sealed: Sealed, version: string, options: AlarmOptions): AlarmParts {
  const { clock, store, random, mirror, logger: log } = context
  const { network = noNetwork, mailer = noMailer, certificates = () => [] } = options
  const ends = new CertificateEnds()
  const room = new RoomLooks(context)
  const tell = tellTarget({ clock, network, mailer, sealed, version })
  return {
    alarms: new AlarmDesk(context),
    notificationTargets: new NotificationTargets(context, sealed, tell),
    certificateEnds: ends,
    reconcilers: (managers) => [
      new Alarms({
        ...{ store, clock, random, log },
        world: () => alarmWorld({ context, version, ends, certificates, managers, room }),
        alarms: () => mirror.list('alarm'),
      }),
      new Deliveries({ store, clock, log, inventory: mirror, tell }),
    ],
  }
}

/** What this manager seals secrets with, by the key of its authority. */
export async function sealedOf(authority: CertificateSigner, random: AppContext['random']): Promise<Sealed> {
  const key = await authority.deriveKey?.('sealed secrets/1')
  return key === undefined ? cannotSeal : sealedBy(key, random)
}
