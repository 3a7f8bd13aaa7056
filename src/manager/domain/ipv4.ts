/** IPv4 arithmetic for ranges and leases. Addresses are numbers inside, dotted quads outside. */

/** The address as a number, or undefined where it is not one (leading zeros are refused: they read as octal elsewhere). */
export function parseIpv4(text: string): number | undefined {
  const parts = text.split('.')
  if (parts.length !== 4) return undefined
  let value = 0
  for (const part of parts) {
    if (!/^(0|[1-9][0-9]{0,2})$/.test(part) || Number(part) > 255) return undefined
    value = value * 256 + Number(part)
  }
  return value
}

export function formatIpv4(value: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join('.')
}

export interface Cidr {
  /** First address: the network itself. */
  readonly first: number
  /** Last address: the broadcast. */
  readonly last: number
  readonly prefix: number
}

/** Reads `a.b.c.d/len`; undefined where it is not one, or where bits are set behind the prefix. */
export function parseCidr(text: string): Cidr | undefined {
  const match = /^([0-9.]+)\/([0-9]{1,2})$/.exec(text)
  const first = parseIpv4(match?.[1] ?? '')
  const prefix = Number(match?.[2])
  if (first === undefined || match === null || prefix > 32) return undefined
  const size = 2 ** (32 - prefix)
  if (first % size !== 0) return undefined
  return { first, last: first + size - 1, prefix }
}

export function contains(cidr: Cidr, address: number): boolean {
  return address >= cidr.first && address <= cidr.last
}

/** What a network needs to know of its addresses. */
export interface AddressPlan {
  readonly cidr: string
  readonly gateway: string | null
  readonly service: string
  readonly rangeStart: string
  readonly rangeEnd: string
}

/**
 * The plan of a CIDR: the service address is the last usable one (dnsmasq's own, the same on every host), the range is
 * the usable rest without the gateway's end. Undefined where the CIDR is malformed or smaller than /29.
 */
export function planAddresses(cidrText: string, gateway: string | null): AddressPlan | undefined {
  const cidr = parseCidr(cidrText)
  if (cidr === undefined || cidr.prefix > 29 || cidr.prefix < 8) return undefined
  const service = cidr.last - 1
  const gate = gateway === null ? undefined : parseIpv4(gateway)
  if (gateway !== null && (gate === undefined || !isUsable(cidr, gate) || gate === service)) return undefined
  return {
    cidr: cidrText,
    gateway,
    service: formatIpv4(service),
    rangeStart: formatIpv4(cidr.first + (gate === cidr.first + 1 ? 2 : 1)),
    rangeEnd: formatIpv4(service - 1),
  }
}

function isUsable(cidr: Cidr, address: number): boolean {
  return address > cidr.first && address < cidr.last
}

/** The lowest free address of the range; undefined when it is full. `taken` holds dotted quads. */
export function firstFreeAddress(plan: AddressPlan, taken: ReadonlySet<string>): string | undefined {
  const [start, end] = [parseIpv4(plan.rangeStart), parseIpv4(plan.rangeEnd)]
  if (start === undefined || end === undefined) return undefined
  for (let at = start; at <= end; at++) {
    const address = formatIpv4(at)
    if (!taken.has(address) && address !== plan.gateway && address !== plan.service) return address
  }
  return undefined
}

/** Why this address cannot be given to a VM, in words; undefined when it can. It may lie outside the range, within the CIDR. */
export function addressProblem(plan: AddressPlan, address: string): string | undefined {
  const [cidr, value] = [parseCidr(plan.cidr), parseIpv4(address)]
  if (cidr === undefined || value === undefined) return `${address} is not an IPv4 address`
  if (!isUsable(cidr, value)) return `${address} is not a host address of ${plan.cidr}`
  if (address === plan.gateway) return `${address} is the gateway`
  if (address === plan.service) return `${address} is the address from which DHCP answers`
  return undefined
}
