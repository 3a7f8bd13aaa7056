/** Taking an address range of the machine for a lab, so that two labs that come up at the same moment take two. */
import { choosePlan, type AddressPlan } from './address-plan.ts'
import type { LabPorts } from './ports.ts'
import { registeredFolders } from './registry.ts'
import { lockLab, readState } from './state.ts'

export interface RangePlaces {
  /** The machine's lock for this. One whose holder is gone is taken over. */
  readonly lock: string
  /** The list of labs; the one that takes a range is in it already. */
  readonly registry: string
  readonly routes: () => Promise<readonly string[]>
}

/** No lab holds the lock longer than it takes to read a few files. */
const waitMs = 20_000

/**
 * Chooses a range that neither the machine has a route into nor a lab has written down, whose wires may not be there yet,
 * and lets `write` write it down before any other lab chooses. Throws `operation-in-progress`, `no-capacity`.
 */
export async function takeRange<T>(
  ports: LabPorts,
  places: RangePlaces,
  write: (plan: AddressPlan) => Promise<T>,
): Promise<T> {
  await using _lock = await lockLab(ports, places.lock, waitMs)
  const folders = await registeredFolders(ports, places.registry)
  const states = await Promise.all(folders.map((folder) => readState(ports.files, folder).catch(() => undefined)))
  const taken = states.flatMap((state) => (state === undefined ? [] : [state.plan.range]))
  return await write(choosePlan(await places.routes(), taken))
}
