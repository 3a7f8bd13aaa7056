/** The arbiters of a pair, each asked where its own configuration says: who decides may change while the pair lives. */
import { HoldfastError } from '../../../base/errors.ts'
import type { ArbiterAddress, ArbiterApi, ProtectionConfig } from '../../../contracts/protection.ts'
import { arbiterClient } from './arbiter-client.ts'

/** `first`: of the configuration with which the pair began. */
export function arbitersOf(
  deps: Parameters<typeof arbiterClient>[0],
  first: ArbiterAddress,
): (config: ProtectionConfig) => ArbiterApi {
  return (config) => arbiterClient(deps, addressOf(config, first))
}

/** Throws `not-found` for a configuration that does not say it and is not the first. */
export function addressOf({ n, arbiter, at }: ProtectionConfig, first: ArbiterAddress): ArbiterAddress {
  if (at !== undefined) return { arbiter, ...at }
  if (arbiter === first.arbiter) return first
  throw new HoldfastError(
    'not-found',
    `where ${arbiter}, which decides about configuration ${n}, is asked is not known`,
  )
}
