/**
 * Whether the agent in a guest answers, for whoever wants to know no more. The channel is opened for one question and closed
 * again: QEMU serves one connection at a time, and a pump, a backup or another question may want it.
 */
import type { Clock } from '../../base/clock.ts'
import { describeError } from '../../base/errors.ts'
import type { Network } from '../../base/network.ts'
import { GuestAgent } from './guest-agent.ts'

export interface AgentPorts {
  readonly clock: Clock
  readonly network: Pick<Network, 'connectUnix'>
}

/** Null when it answers within the time, else why not. The channel is free again when it resolves. Never rejects. */
export async function agentProblem(
  { clock, network }: AgentPorts,
  socket: string,
  withinMs: number,
): Promise<string | null> {
  try {
    const stream = await network.connectUnix(socket)
    // What answers a question of the same millisecond is a sign of life too.
    using _agent = await GuestAgent.open(stream, clock, Math.floor(clock.now()), withinMs)
    return null
  } catch (thrown) {
    return describeError(thrown)
  }
}
