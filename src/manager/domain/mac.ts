/** MAC addresses of vNICs. */

/** A MAC under QEMU's prefix, from three bytes of randomness. */
export function macFrom(bytes: Uint8Array): string {
  return ['52', '54', '00', ...Array.from(bytes.slice(0, 3), (byte) => byte.toString(16).padStart(2, '0'))].join(':')
}

/** Why this MAC cannot be a vNIC's, in words; undefined when it can. It must be unicast and locally administered. */
export function macProblem(mac: string): string | undefined {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(mac)) return `${mac} is not a MAC address`
  const first = Number.parseInt(mac.slice(0, 2), 16)
  if ((first & 1) !== 0) return `${mac} is a multicast address`
  if ((first & 2) === 0) return `${mac} is not locally administered (its first byte must have the bit 02)`
  return undefined
}
