/** Which addresses a lab uses: a private /16 that the machine has no route into. Pure. */
import { HoldfastError } from '../base/errors.ts'
import { hostNumber, isManager, managerName, managerNumber, outsideName, type LabNetwork } from './names.ts'

export interface AddressPlan {
  /** The second number of 10.x.0.0/16. */
  readonly range: number
}

/** Hosts are .11, .12, … so a /24 has room for this many. */
export const mostHosts = 200
const firstRange = 77
const networkNumber: Record<LabNetwork, number> = { management: 0, storage: 1, guests: 2 }

/** The first range from 10.77.0.0/16 on that overlaps no route. Throws `no-capacity` when all do. */
export function choosePlan(routes: readonly string[], taken: readonly number[] = []): AddressPlan {
  const blocks = routes.map(parseCidr).filter((block) => block !== undefined && block.length > 0)
  for (let i = 0; i < 256; i++) {
    const range = (firstRange + i) % 256
    const base = (10 * 2 ** 24 + range * 2 ** 16) >>> 0
    const isFree = blocks.every((block) => block === undefined || !overlap(block, { base, length: 16 }))
    if (isFree && !taken.includes(range)) return { range }
  }
  throw new HoldfastError('no-capacity', 'the machine has routes into all of 10.0.0.0/8', {
    mend: 'Take a lab down that is not needed any more (`holdfast lab list`).',
  })
}

interface Block {
  readonly base: number
  readonly length: number
}

/** The block of a destination as `ip route` prints it; `default` has length 0. */
function parseCidr(text: string): Block | undefined {
  const match = /^(\d+)\.(\d+)\.(\d+)\.(\d+)(?:\/(\d+))?$/.exec(text === 'default' ? '0.0.0.0/0' : text)
  if (match === null) return undefined
  const [a = 0, b = 0, c = 0, d = 0] = match.slice(1, 5).map(Number)
  return { base: (a * 2 ** 24 + b * 2 ** 16 + c * 2 ** 8 + d) >>> 0, length: Number(match[5] ?? 32) }
}

function overlap(one: Block, other: Block): boolean {
  const size = 2 ** (32 - Math.min(one.length, other.length))
  return Math.floor(one.base / size) === Math.floor(other.base / size)
}

/** A node's address on one of the lab's networks. */
export function addressOf(plan: AddressPlan, node: string, network: LabNetwork): string {
  return `10.${plan.range}.${networkNumber[network]}.${lastNumber(node)}`
}

/** The outside is .1, managers are .10, .2, .3, and hosts come after .10. */
function lastNumber(node: string): number {
  if (node === outsideName) return 1
  if (!isManager(node)) return 10 + hostNumber(node)
  return managerNumber(node) === 1 ? 10 : managerNumber(node)
}

/** A fixed MAC, so that no bridge ever changes its own and no neighbour's cache goes stale. */
export function macOf(plan: AddressPlan, node: string, network: LabNetwork): string {
  const last = Number(addressOf(plan, node, network).split('.').at(-1))
  return `02:68:66:${hex(plan.range)}:0${networkNumber[network]}:${hex(last)}`
}

/** The MAC of a bridge of the switch. */
export function bridgeMac(plan: AddressPlan, network: LabNetwork): string {
  return `02:68:66:${hex(plan.range)}:0${networkNumber[network]}:ff`
}

/** The guests' own network, and the VXLAN that carries it; the outside is its gateway. */
export function guestNetwork(plan: AddressPlan): { cidr: string; gateway: string; prefix: number; vni: number } {
  return { cidr: `10.${plan.range}.100.0/24`, gateway: `10.${plan.range}.100.1`, prefix: 24, vni: 7000 + plan.range }
}

export const managerPort = 7443

export function managerUrl(plan: AddressPlan, node = managerName): string {
  return `https://${addressOf(plan, node, 'management')}:${managerPort}`
}

function hex(value: number): string {
  return value.toString(16).padStart(2, '0')
}
