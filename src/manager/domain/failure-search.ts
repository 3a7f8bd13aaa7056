/**
 * Whether the VMs of any N failed hosts find room on those that are left, without trying each combination. Pure.
 *
 * VMs are in classes by the hosts that can take them. Placement puts one VM after the other where there is room. When it
 * finds none for a VM of size m, each host of its class has less than m free: with sizes that are multiples of g, m - g at
 * most. So it has filled at least c(h) = free(h) - (m - g) of each, and what has been placed is at least the sum of these. It
 * follows that all VMs of a class fit, in whatever order and wherever placement puts them, when
 *
 *   (memory of all displaced VMs that could take room there) - m  <  sum of c(h) over the hosts that are left
 *
 * for each size m of a displaced VM of the class. For a given m, the worst N hosts are those whose displaced memory and c(h)
 * together are the most: no search is needed, and nothing is promised that an unlucky order could break. VMs that must be
 * apart lose as many hosts more as there are others of them: the best ones are taken to be those.
 */
import type { HostId } from '../../base/ids.ts'

/** VMs that the same hosts can take. */
export interface DemandClass {
  readonly hosts: ReadonlySet<HostId>
  /** Hosts of these that VMs which must be apart from them may bar. */
  readonly barred: number
  /** Memory of each of its VMs by the host that it would be displaced from; null: it waits for a host already. */
  readonly sizes: ReadonlyMap<HostId | null, readonly number[]>
}

export interface FailureWorld {
  readonly classes: readonly DemandClass[]
  /** Memory that is free on each host that takes VMs, MiB; it may be below zero. */
  readonly free: ReadonlyMap<HostId, number>
}

export interface Shortage {
  readonly hosts: readonly HostId[]
  /** A VM of this size may not find room, MiB. */
  readonly sizeMiB: number
}

/** The combination of N failures that is the worst, where not all may find room; undefined: all do in every combination. */
export function worstFailures(world: FailureWorld, count: number): Shortage | undefined {
  for (const own of world.classes) {
    const found = search(prepared(world, own), count)
    if (found !== undefined) return found
  }
  return undefined
}

/** Whether all find room when exactly these hosts fail. */
export function shortageAfter(world: FailureWorld, failed: ReadonlySet<HostId>): Shortage | undefined {
  for (const own of world.classes) {
    const ready = prepared(world, own)
    const left = [...own.hosts].filter((host) => !failed.has(host))
    // No free memory would help.
    if (left.length - own.barred < 1) continue
    const displaced = [null, ...failed].flatMap((host) => [...(own.sizes.get(host) ?? [])])
    const demand = ready.waiting + sum([...failed].map((host) => ready.demand.get(host) ?? 0))
    for (const size of new Set(displaced)) {
      const rooms = left.map((host) => ready.roomFor(host, size)).sort((a, b) => b - a)
      if (demand - size >= sum(rooms.slice(own.barred))) return { hosts: [...failed], sizeMiB: size }
    }
  }
  return undefined
}

interface Prepared {
  readonly own: DemandClass
  readonly hosts: readonly HostId[]
  /** Memory of VMs on each host that could take room of this class. */
  readonly demand: ReadonlyMap<HostId, number>
  readonly waiting: number
  roomFor(host: HostId, size: number): number
}

function prepared(world: FailureWorld, own: DemandClass): Prepared {
  const demand = new Map<HostId, number>()
  let waiting = 0
  let unit = 0
  for (const other of world.classes) {
    if (![...other.hosts].some((host) => own.hosts.has(host))) continue
    for (const [host, sizes] of other.sizes) {
      for (const size of sizes) unit = commonUnit(unit, size)
      if (host === null) waiting += sum(sizes)
      else demand.set(host, (demand.get(host) ?? 0) + sum(sizes))
    }
  }
  const roomFor = (host: HostId, size: number): number => {
    if (!own.hosts.has(host)) return 0
    const free = world.free.get(host) ?? 0
    return Math.max(0, Math.floor(free / unit) * unit - size + unit)
  }
  return { own, hosts: [...new Set([...world.free.keys(), ...demand.keys()])], demand, waiting, roomFor }
}

function search(ready: Prepared, count: number): Shortage | undefined {
  const { own, hosts, demand } = ready
  const mostOfOwn = own.hosts.size - 1 - own.barred
  const all = new Set([...own.sizes.values()].flat())
  for (const size of all) {
    const room = new Map(hosts.map((host) => [host, ready.roomFor(host, size)]))
    const weight = (host: HostId): number => (demand.get(host) ?? 0) + (room.get(host) ?? 0)
    const ranked = [...hosts].sort((a, b) => weight(b) - weight(a))
    const barred = [...room.values()].sort((a, b) => b - a).slice(0, own.barred)
    const available = sum([...room.values()]) - sum(barred)
    // A VM of this size must be among the displaced.
    const isWaiting = own.sizes.get(null)?.includes(size) === true
    const firsts = isWaiting ? [null] : ranked.filter((host) => own.sizes.get(host)?.includes(size) === true)
    for (const first of firsts) {
      const failed = pick(ranked, first, count, own.hosts, mostOfOwn)
      if (failed === undefined) continue
      if (ready.waiting + sum(failed.map(weight)) - size >= available) return { hosts: failed, sizeMiB: size }
    }
  }
  return undefined
}

/** The heaviest hosts, this one among them, and no more of the class than leave it one. */
function pick(
  ranked: readonly HostId[],
  first: HostId | null,
  count: number,
  own: ReadonlySet<HostId>,
  mostOfOwn: number,
): HostId[] | undefined {
  const picked: HostId[] = []
  let ofOwn = 0
  const take = (host: HostId): boolean => {
    if (picked.length >= count || picked.includes(host)) return false
    if (own.has(host) && ofOwn >= mostOfOwn) return false
    if (own.has(host)) ofOwn += 1
    picked.push(host)
    return true
  }
  if (first !== null && !take(first)) return undefined
  for (const host of ranked) if (picked.length < count) take(host)
  return picked
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}

function commonUnit(a: number, b: number): number {
  return b === 0 ? Math.max(a, 1) : commonUnit(b, a % b)
}
