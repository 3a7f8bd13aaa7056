/**
 * Who may ask an arbiter, an agent or a manager. Managers may ask all. A host of the cluster may ask only for its own part: about
 * configurations that name it, for the side on which they name it; and a second may give its VM to the primary.
 */
import { HoldfastError } from '../base/errors.ts'
import type { HostId, VmId } from '../base/ids.ts'
import type { ArbiterAskRequest, ArbiterOpenRequest, ArbiterSupersedeRequest, ProtectionConfig } from './protection.ts'

export type ArbiterAsk =
  | { readonly ask: 'life' }
  | { readonly ask: 'open'; readonly request: ArbiterOpenRequest }
  | { readonly ask: 'claim' | 'look'; readonly request: ArbiterAskRequest }
  | { readonly ask: 'supersede'; readonly request: ArbiterSupersedeRequest }

/** The VM that it is about. */
export function vmOf(asked: Exclude<ArbiterAsk, { ask: 'life' }>): VmId {
  return asked.ask === 'open' ? asked.request.config.vm : asked.request.vm
}

/** Throws `not-allowed`. `newest`: the newest configuration that the register knows of the VM. */
export function mustTakePart(host: HostId, asked: ArbiterAsk, newest: ProtectionConfig | undefined): void {
  if (takesPart(host, asked, newest)) return
  throw new HoldfastError('not-allowed', `${host} takes no part in that configuration, or not on that side`)
}

function takesPart(host: HostId, asked: ArbiterAsk, held: ProtectionConfig | undefined): boolean {
  switch (asked.ask) {
    case 'life':
      return true
    case 'open':
      return asked.request.config.primary === host || asked.request.config.second === host
    case 'claim':
    case 'look': {
      const { n, side } = asked.request
      // Of another number than the register's nothing is decided: it says `lost` or `unknown`, whoever asks.
      if (held?.n !== n || held[side] === host) return true
      // A second that asks in the primary's name gives it the VM: it harms nobody but itself.
      return asked.ask === 'claim' && side === 'primary' && held.second === host
    }
    case 'supersede': {
      const { n, next } = asked.request
      return next.primary === host && (held?.n !== n || held.primary === host)
    }
  }
}
