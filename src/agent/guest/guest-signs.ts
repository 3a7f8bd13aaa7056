/** Signs of life of the guests on a host, passed in. */
import type { Clock } from '../../base/clock.ts'
import type { Files } from '../../base/files.ts'
import type { Logger } from '../../base/log.ts'
import type { Network } from '../../base/network.ts'
import type { VmId } from '../../base/ids.ts'
import type { Machine } from '../../hypervisor/hypervisor.ts'
import { tapName } from '../network/names.ts'
import { agentProblem } from './agent-problem.ts'

export interface GuestSigns {
  /** Whether the agent in the guest answers soon. The channel is free again when it resolves. Never rejects. */
  doesAnswer(machine: Machine): Promise<boolean>
  /** How many frames each NIC's guest has sent, of all VMs on this host. */
  framesSent(): Promise<FramesSent>
}

/** By VM and the NIC's key; undefined for a NIC that is not here. */
export type FramesSent = (vm: VmId, nic: number) => number | undefined

/** A host that is busy answers late; that is no sign that the guest hangs. */
const answerMs = 5000

export class HostSigns implements GuestSigns {
  readonly #ports: { clock: Clock; files: Files; network: Network; log: Logger }

  constructor(ports: { clock: Clock; files: Files; network: Network; log: Logger }) {
    this.#ports = ports
  }

  async doesAnswer(machine: Machine): Promise<boolean> {
    const problem = await agentProblem(this.#ports, machine.guestAgentSocket, answerMs)
    if (problem !== null) this.#ports.log.debug({ machine: machine.name, problem }, 'no agent in the guest answers')
    return problem === null
  }

  /** One read for all. What a tap has received is what its guest has sent. */
  async framesSent(): Promise<FramesSent> {
    const received = receivedFrames(await this.#ports.files.readText('/proc/net/dev'))
    return (vm, nic) => received.get(tapName(vm, nic))
  }
}

/** Interface → frames received, from /proc/net/dev (of this process's network namespace). Pure. */
export function receivedFrames(text: string): Map<string, number> {
  const frames = new Map<string, number>()
  for (const line of text.split('\n')) {
    const [name, counters] = line.split(':')
    const packets = counters?.trim().split(/ +/)[1]
    if (name !== undefined && packets !== undefined && /^\d+$/.test(packets)) frames.set(name.trim(), Number(packets))
  }
  return frames
}
