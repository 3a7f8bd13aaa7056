/** Renews the host's certificate before it ends, with the same key. */
import type { Clock } from '../base/clock.ts'
import type { Logger } from '../base/log.ts'
import type { ManagerApi } from '../contracts/manager-api.ts'
import { hasEnded, wantsRenewal, type Identity, type IdentityFiles } from './identity.ts'

const lookEveryMs = 3_600_000
const endedMessage =
  'the certificate of this host has ended, and no manager believes it: with a new token run `holdfast agent join` again, ' +
  'then restart the agent (virtual machines run on)'

export interface RenewalDeps {
  readonly clock: Clock
  readonly log: Logger
  readonly store: IdentityFiles
  readonly manager: ManagerApi
  /** The identity in use is exchanged for this one. */
  readonly use: (identity: Identity) => Promise<void>
}

/** Looks every hour until aborted. Never rejects. */
export async function keepCertificate(deps: RenewalDeps, first: Identity, signal: AbortSignal): Promise<void> {
  let identity = first
  while (!signal.aborted) {
    try {
      if (wantsRenewal(identity.certificate, deps.clock.now())) {
        const answer = await deps.manager.renew({ certificateRequest: await deps.store.request() })
        identity = { ...identity, certificate: answer.certificate, ca: answer.ca }
        await deps.store.write(identity)
        await deps.use(identity)
        deps.log.info({}, 'the certificate of this host was renewed')
      }
    } catch (err) {
      if (hasEnded(identity.certificate, deps.clock.now())) deps.log.error({ err }, endedMessage)
      else deps.log.warn({ err }, 'the certificate of this host could not be renewed yet')
    }
    await deps.clock.sleep(lookEveryMs, signal).catch(() => undefined)
  }
}
