/** The fence devices of records: their secrets are opened here, a moment before they are used, and nowhere else. */
import { HoldfastError } from '../../base/errors.ts'
import type { HostId } from '../../base/ids.ts'
import type { FenceOrder, FencePort } from '../sagas/fence-deps.ts'
import type { FenceAction } from '../domain/fence-agent-api.ts'
import type { Fencer } from './fence-agents.ts'
import type { Sealed } from './sealed.ts'

export interface FencingParts {
  readonly fencer: Fencer
  readonly sealed: Sealed
}

/** What a secret of a device is sealed for: it opens for no other host, agent or option. */
export function secretContext(host: HostId, agent: string, option: string): string {
  return `fence/${host}/${agent}/${option}`
}

/** Without parts this manager runs no agents, and says so. One that has lost the lead does not either: another decides by now. */
export function fencePort(parts: FencingParts | undefined, holdsLead: () => boolean): FencePort {
  const run = async (order: FenceOrder, action: FenceAction): Promise<'on' | 'off' | null> => {
    const { fencer, sealed } = needParts(parts)
    const { host, device, timeoutMs, signal } = order
    const { agent, options } = device
    const secrets = Object.fromEntries(
      Object.entries(device.secrets).map(([name, text]) => [
        name,
        sealed.unseal(text, secretContext(host, agent, name)),
      ]),
    )
    if (!holdsLead()) throw new HoldfastError('unreachable', 'this manager does not lead any more: it switches no host')
    return await fencer.run({ agent, action, options, secrets, timeoutMs, signal })
  }
  return {
    switch: async (order, to) => {
      await run(order, to)
    },
    status: async (order) => {
      const power = await run(order, 'status')
      if (power === null) throw new HoldfastError('internal', 'a status that is none')
      return power
    },
  }
}

/** Throws `wrong-state`. */
export function needParts(parts: FencingParts | undefined): FencingParts {
  if (parts !== undefined) return parts
  throw new HoldfastError('wrong-state', 'this manager runs no fence agents')
}
