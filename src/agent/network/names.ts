/** Names and addresses that follow from ids: nothing has to be remembered to find what is ours. Pure. */
import { createHash } from 'node:crypto'
import { idNumber, type NetworkId, type VmId } from '../../base/ids.ts'

/** Room for an interface's name. */
const longestName = 15

export function bridgeName(network: NetworkId): string {
  return `hfbr${idNumber(network)}`
}

export function vxlanName(network: NetworkId): string {
  return `hfvx${idNumber(network)}`
}

export function vlanName(network: NetworkId): string {
  return `hfvl${idNumber(network)}`
}

/** `hft42-1`; for numbers that do not fit, a digest of them. */
export function tapName(vm: VmId, key: number): string {
  const plain = `hft${idNumber(vm)}-${key}`
  if (plain.length <= longestName) return plain
  return `hft${createHash('sha256').update(`${vm}/${key}`).digest('hex').slice(0, 12)}`
}

/**
 * The bridge's own MAC: fixed, since one that follows its ports would change when a tap joins; and the same on every
 * host, so that a guest that moved finds the service address where it was.
 */
export function bridgeMac(network: NetworkId): string {
  const number = idNumber(network)
  const bytes = [(number >> 16) & 0xff, (number >> 8) & 0xff, number & 0xff]
  return ['02', '48', '46', ...bytes.map((byte) => byte.toString(16).padStart(2, '0'))].join(':')
}

/** A name that DHCP can hand out: letters, digits and dashes. */
export function hostLabel(name: string): string {
  const label = name
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .slice(0, 63)
    .replaceAll(/^-+|-+$/g, '')
  return label === '' ? 'vm' : label
}

/** `10.1.2.0/24` taken apart. */
export function parseCidr(cidr: string): { network: string; length: number; mask: string } {
  const [address = '', lengthText = ''] = cidr.split('/')
  const length = Number(lengthText)
  const mask = length === 0 ? 0 : (0xffffffff << (32 - length)) >>> 0
  return { network: fromNumber((toNumber(address) & mask) >>> 0), length, mask: fromNumber(mask) }
}

function toNumber(address: string): number {
  return address.split('.').reduce((sum, part) => ((sum << 8) | Number(part)) >>> 0, 0)
}

function fromNumber(value: number): string {
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 0xff).join('.')
}
