/**
 * Whether a guest of this host is ready: its agent answers, or a TCP port of one of its addresses takes connections. Ports
 * are asked from the service address of the guest's network, which every host has on its own bridge: no other way into the
 * network is needed, and the guest sees a neighbour.
 */
import type { Clock } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { Network } from '../../base/network.ts'
import type { TcpProbe } from '../../base/tcp.ts'
import type { VmDeployment } from '../../contracts/agent-api.ts'
import type { ProbeRequest, ProbeResult } from '../../contracts/probe.ts'
import { agentProblem } from '../guest/agent-problem.ts'

export interface ProbePorts {
  readonly clock: Clock
  readonly network: Pick<Network, 'connectUnix'>
  readonly tcp: TcpProbe
}

/** An address of the guest, and where on this host to ask it from. */
export interface GuestAddress {
  readonly address: string
  readonly from: string | null
}

const answerMs = 2000
/** Less than a sign of life is given, which waits for the same channel. It is asked again soon. */
const agentMs = 1000

/** The addresses that Holdfast has given to a VM, in the order of its NICs. */
export function addressesOf(deployment: Pick<VmDeployment, 'spec' | 'networks'>): GuestAddress[] {
  return deployment.spec.nics.flatMap(({ address, network }) => {
    const own = deployment.networks.find((each) => each.network === network)
    return address === null ? [] : [{ address, from: own?.ipv4?.service ?? null }]
  })
}

/** Asks once. Not to be ready is an answer. Throws `invalid-request` for a port that is not named. */
export async function probeGuest(
  ports: ProbePorts,
  guest: { readonly agentSocket: string; readonly addresses: readonly GuestAddress[] },
  request: ProbeRequest,
): Promise<ProbeResult> {
  if (request.kind === 'guest-agent') {
    const problem = await agentProblem(ports, guest.agentSocket, agentMs)
    return { isReady: problem === null, problem }
  }
  const { port } = request
  if (port === undefined) throw new HoldfastError('invalid-request', 'the port to be asked is not named')
  if (guest.addresses.length === 0) {
    return { isReady: false, problem: 'it has no address that Holdfast assigned, so its ports cannot be asked' }
  }
  const asked = guest.addresses.map((where) => ports.tcp.ask({ ...where, port }, answerMs))
  const problems = await Promise.all(asked)
  const isReady = problems.includes(null)
  return { isReady, problem: isReady ? null : problems.join('; ') }
}
