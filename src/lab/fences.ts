/** Fence devices of a lab's hosts: the lab's own agent at its power switch. */
import type { Client } from '../contracts/client.ts'
import type { Lab } from './lab.ts'
import type { LabState } from './state.ts'
import type { Progress } from './world.ts'

export const fenceAgent = 'fence_holdfast_lab'

/** Sets the devices of hosts that have none. A lab is there to be struck: no number of lost hosts holds fencing up. */
export async function setFences(lab: Lab, state: LabState, client: Client, say: Progress): Promise<void> {
  const { items } = await client.call('listHosts')
  const bare = items.filter(({ name, fence }) => state.hosts.includes(name) && (fence?.levels.length ?? 0) === 0)
  if (bare.length === 0) return
  say('fencing: the power switch of the lab switches lost hosts off')
  await client.call('changeFencing', { body: { mostShare: 1 } })
  const { fencePassword = '' } = await lab.existing()
  for (const { id, name } of bare) {
    await client.call('setHostFence', {
      params: { host: id },
      body: { agent: fenceAgent, options: { plug: name }, secrets: { password: fencePassword } },
    })
  }
}
