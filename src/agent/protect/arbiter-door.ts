/**
 * Who may ask this host as an arbiter. Managers may ask all. A host of the cluster may ask only for its own part: about
 * configurations that name it, for the side on which they name it.
 */
import { HoldfastError } from '../../base/errors.ts'
import type { HostId, VmId } from '../../base/ids.ts'
import type {
  ArbiterAskRequest,
  ArbiterOpenRequest,
  ArbiterSupersedeRequest,
  ProtectionConfig,
} from '../../contracts/protection.ts'

export type ArbiterAsk =
  | { readonly ask: 'life' }
  | { readonly ask: 'open'; readonly request: ArbiterOpenRequest }
  | { readonly ask: 'claim' | 'look'; readonly request: ArbiterAskRequest }
  | { readonly ask: 'supersede'; readonly request: ArbiterSupersedeRequest }

/** Throws `not-allowed`. `newest`: the newest configuration that the register knows of a VM. */
export function mustTakePart(
  host: HostId,
  asked: ArbiterAsk,
  newest: (vm: VmId) => ProtectionConfig | undefined,
): void {
  if (takesPart(host, asked, newest)) return
  throw new HoldfastError('not-allowed', `${host} takes no part in that configuration, or not on that side`)
}

function takesPart(host: HostId, asked: ArbiterAsk, newest: (vm: VmId) => ProtectionConfig | undefined): boolean {
  switch (asked.ask) {
    case 'life':
      return true
    case 'open':
      return asked.request.config.primary === host || asked.request.config.second === host
    case 'claim':
    case 'look': {
      const { vm, n, side } = asked.request
      const held = newest(vm)
      // Of another number than the register's nothing is decided: it says `lost` or `unknown`, whoever asks.
      return held?.n !== n || held[side] === host
    }
    case 'supersede': {
      const { vm, n, next } = asked.request
      const held = newest(vm)
      return next.primary === host && (held?.n !== n || held.primary === host)
    }
  }
}
