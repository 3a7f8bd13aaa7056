/** NICs of a new machine: MACs that nobody has, and fixed addresses where Holdfast assigns them. */
import { HoldfastError } from '../../base/errors.ts'
import { idNumber } from '../../base/ids.ts'
import type { CreateVm } from '../../contracts/vm-requests.ts'
import type { NicDevice } from '../../contracts/machine-spec.ts'
import type { ClusterView, NetworkView } from './cluster-view.ts'
import { addressProblem, firstFreeAddress } from './ipv4.ts'
import { macProblem } from './mac.ts'
import { addressClaim, claimedAddresses, macClaim, resolveRef } from './names.ts'

interface Parts {
  readonly nextKey: () => number
  readonly nextSlot: () => string
  readonly newMac: () => string
  readonly claims: ReadonlySet<string>
}

/** Devices, and the claims that guard their MACs and addresses. Throws `invalid-request`, `not-found`, `name-taken`, `no-capacity`. */
export function planNics(
  cluster: ClusterView,
  request: CreateVm,
  parts: Parts,
): { devices: readonly NicDevice[]; claims: readonly string[] } {
  const usual = defaultNetwork(cluster)
  const wanted = request.nics ?? (usual === undefined ? [] : [{}])
  const claims = new Set<string>()
  const isTaken = (claim: string): boolean => claims.has(claim) || parts.claims.has(claim)
  const devices = wanted.map((nic): NicDevice => {
    const network = nic.network === undefined ? usual : resolveRef(cluster.networks, nic.network)
    if (network === undefined) throw new HoldfastError('not-found', `There is no network ${nic.network ?? 'yet'}`)
    const mac = nic.mac === undefined ? freshMac(parts.newMac, isTaken) : checkedMac(nic.mac, isTaken)
    claims.add(macClaim(mac))
    const address = addressOn(network, nic.address, parts.claims, claims)
    if (address !== null) claims.add(addressClaim(network.id, address))
    return {
      key: parts.nextKey(),
      network: network.id,
      model: nic.model ?? 'virtio',
      mac,
      address,
      slot: parts.nextSlot(),
    }
  })
  return { devices, claims: [...claims] }
}

/** The network named `default`, else the first that was made. */
export function defaultNetwork(cluster: ClusterView): NetworkView | undefined {
  const first = [...cluster.networks].sort((a, b) => idNumber(a.id) - idNumber(b.id))[0]
  return cluster.networks.find((network) => network.name === 'default') ?? first
}

function freshMac(newMac: () => string, isTaken: (claim: string) => boolean): string {
  for (let attempt = 0; attempt < 64; attempt++) {
    const mac = newMac()
    if (!isTaken(macClaim(mac))) return mac
  }
  throw new HoldfastError('no-capacity', 'No free MAC address was found')
}

function checkedMac(mac: string, isTaken: (claim: string) => boolean): string {
  const problem = macProblem(mac)
  if (problem !== undefined) throw new HoldfastError('invalid-request', problem)
  if (isTaken(macClaim(mac))) throw new HoldfastError('name-taken', `The MAC address ${mac} is in use`)
  return mac
}

function addressOn(
  network: NetworkView,
  wish: string | undefined,
  taken: ReadonlySet<string>,
  own: ReadonlySet<string>,
): string | null {
  if (network.ipv4 === null) {
    if (wish === undefined) return null
    throw new HoldfastError('invalid-request', `Holdfast assigns no addresses on the network ${network.name}`)
  }
  if (wish !== undefined) {
    const problem = addressProblem(network.ipv4, wish)
    if (problem !== undefined) throw new HoldfastError('invalid-request', problem)
    const claim = addressClaim(network.id, wish)
    if (taken.has(claim) || own.has(claim)) throw new HoldfastError('name-taken', `The address ${wish} is in use`)
    return wish
  }
  const used = new Set([...claimedAddresses(network.id, taken), ...claimedAddresses(network.id, own)])
  const address = firstFreeAddress(network.ipv4, used)
  if (address === undefined) throw new HoldfastError('no-capacity', `The network ${network.name} has no free address`)
  return address
}
