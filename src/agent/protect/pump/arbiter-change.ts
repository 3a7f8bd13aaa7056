/**
 * Has the primary put another arbiter in the place of the one before (new-arbiter.ts), and waits for what comes of it. Asked
 * for again, it waits for the same change.
 */
import type { Clock } from '../../../base/clock.ts'
import { HoldfastError } from '../../../base/errors.ts'
import type { ArbiterApi, ProtectionConfig } from '../../../contracts/protection.ts'
import { mayBegin, type NewArbiter } from '../new-arbiter.ts'
import type { PrimaryState } from '../primary-side.ts'
import type { ArbiterChange } from '../pumps.ts'
import type { PrimaryProtocol } from './primary-protocol.ts'

interface Deps {
  readonly clock: Clock
  arbiter(config: ProtectionConfig): ArbiterApi
}

/** Longer than the primary is patient with an arbiter that is to step back; it goes on with what takes longer. */
const waitMs = 8000
const lookMs = 20

/** As `Pump.changeArbiter`. */
export async function changeArbiter(
  deps: Deps,
  protocol: Pick<PrimaryProtocol, 'state' | 'input'> | undefined,
  change: ArbiterChange,
): Promise<void> {
  if (protocol === undefined) throw refused('the second copy is not in step yet')
  const { next: n } = change
  if (protocol.state.config.n < n && protocol.state.change?.next.n !== n) await begin(deps, protocol, change)
  const until = deps.clock.monotonic() + waitMs
  for (;;) {
    const { state } = protocol
    if (hasEnded(state)) throw refused('one of the two sides goes on alone')
    if (state.change === null && state.config.n === n) return
    if (state.change === null) throw refused('the one to decide did not open it, or another change was faster')
    if (state.change.next.n !== n) throw refused('another change of who decides goes on')
    if (deps.clock.monotonic() > until)
      throw new HoldfastError('timeout', `whether configuration ${n} counts already is not known yet`)
    await deps.clock.sleep(lookMs)
  }
}

async function begin(
  deps: Deps,
  protocol: Pick<PrimaryProtocol, 'state' | 'input'>,
  change: ArbiterChange,
): Promise<void> {
  const { arbiter: id, ...at } = change.arbiter
  const next = { n: change.next, arbiter: id, at }
  const { vm, primary, second } = protocol.state.config
  const { life } = await deps.arbiter({ vm, primary, second, ...next }).arbiterLife()
  const input: NewArbiter = { is: 'new-arbiter', next, life, old: change.old }
  if (!mayBegin(protocol.state, input)) throw refused('another change goes on, or its number was used before')
  await protocol.input(input)
}

function hasEnded({ phase }: PrimaryState): boolean {
  return phase === 'claiming' || phase === 'alone' || phase === 'lost'
}

function refused(why: string): HoldfastError {
  return new HoldfastError('wrong-state', `who decides cannot be changed: ${why}`)
}
