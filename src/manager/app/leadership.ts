/** Waiting for the lead, and keeping it. What it means to have it is in store/etcd/lead.ts. */
import type { Clock } from '../../base/clock.ts'
import { describeError } from '../../base/errors.ts'
import type { Logger } from '../../base/log.ts'
import type { LeadRecord } from '../store/etcd/lead.ts'

export type { LeadRecord }

/** How long a lease of the lead is, and how often it is renewed. Who waits for it asks as often as `pollMs`. */
export const leadTtlMs = 2000
const renewEveryMs = 500
const pollMs = 100
/**
 * How long a leader whose lease is over tries to get it again before it ends. Meanwhile it answers nothing as a leader
 * (`holds`), and etcd refuses its commits as soon as another leads. So it outlives an etcd that is slow for everybody.
 */
const overMs = 4000

interface LeadPort {
  msLeft(): number
  rival(): Promise<LeadRecord | undefined>
  take(): Promise<boolean>
  renew(): Promise<boolean>
}

interface Ports {
  readonly lead: LeadPort
  readonly clock: Clock
  readonly logger: Logger
}

/**
 * Resolves with true when this manager leads, with false when the signal was aborted. Tells `onLeader` who leads meanwhile,
 * each time that it is another.
 */
export async function waitForLead(
  { lead, clock, logger }: Ports,
  onLeader: (leader: LeadRecord | undefined) => void,
  signal: AbortSignal,
): Promise<boolean> {
  let told: string | undefined
  let isLost = false
  const tell = (leader: LeadRecord | undefined): void => {
    const text = JSON.stringify(leader ?? null)
    if (text !== told) onLeader(leader)
    told = text
  }
  while (!signal.aborted) {
    try {
      if (await lead.take()) return true
      tell(await lead.rival())
      if (isLost) logger.info({}, 'etcd answers again')
      isLost = false
    } catch (thrown) {
      if (!isLost) logger.warn({ err: describeError(thrown) }, 'who leads cannot be seen; it is asked again')
      isLost = true
      tell(undefined)
    }
    await clock.sleep(pollMs, signal).catch(() => undefined)
  }
  return false
}

/** Renews the lead until it is lost or the signal is aborted; resolves with why. */
export async function keepLead({ lead, clock, logger }: Ports, signal: AbortSignal): Promise<string> {
  const givenBack = 'it was given back'
  // An abort of before is told to nobody.
  if (signal.aborted) return givenBack
  const lost = Promise.withResolvers<string>()
  signal.addEventListener('abort', () => lost.resolve(givenBack), { once: true })
  const isOver = (): boolean => signal.aborted
  const renewing = async (): Promise<void> => {
    while (!isOver()) {
      await clock.sleep(renewEveryMs, signal).catch(() => undefined)
      if (isOver()) return
      try {
        if (!(await lead.renew())) return lost.resolve('another manager has it')
      } catch (thrown) {
        logger.warn({ err: describeError(thrown) }, 'the lead could not be renewed; it is tried again')
      }
      if (lead.msLeft() < -overMs) return lost.resolve('it was not renewed in time')
    }
  }
  void renewing()
  return await lost.promise
}
