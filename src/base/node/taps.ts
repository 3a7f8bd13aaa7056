import { open, readFile } from 'node:fs/promises'
import { HoldfastError } from '../errors.ts'
import type { Taps } from '../taps.ts'
import { libc } from './libc.ts'

/** From linux/if_tun.h. */
const TUNSETIFF = 0x400454can
const IFF_TAP = 0x0002
const IFF_NO_PI = 0x1000
const IFF_VNET_HDR = 0x4000
const ifreqBytes = 40
const nameBytes = 16
const EBUSY = 16
const EINVAL = 22

/** The real taps of this network namespace. Needs CAP_NET_ADMIN. */
export function nodeTaps(): Taps {
  return {
    async open(name) {
      if (!/^[A-Za-z0-9._-]{1,15}$/.test(name))
        throw new HoldfastError('invalid-request', `"${name}" is no name of an interface`)
      // Without this check TUNSETIFF would make a new interface, on no bridge and with no rules.
      await exists(name)
      const file = await open('/dev/net/tun', 'r+')
      try {
        attach(file.fd, name)
      } catch (thrown) {
        await file.close()
        throw thrown
      }
      return { fd: file.fd, [Symbol.asyncDispose]: () => file.close() }
    },
  }
}

/** By /proc, which shows our own namespace; /sys shows the one that it was mounted in. */
async function exists(name: string): Promise<void> {
  const text = await readFile('/proc/self/net/dev', 'utf8')
  if (text.split('\n').some((row) => row.trim().startsWith(`${name}:`))) return
  throw new HoldfastError('not-found', `there is no tap ${name}`, { mend: 'Create the tap before its machine starts.' })
}

function attach(fd: number, name: string): void {
  const request = Buffer.alloc(ifreqBytes)
  request.write(name, 0, 'ascii')
  request.writeUInt16LE(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, nameBytes)
  const result = libc().ioctl(fd, TUNSETIFF, request)
  if (result === -EBUSY) throw new HoldfastError('wrong-state', `tap ${name} is in use by another process`)
  if (result === -EINVAL)
    throw new HoldfastError('wrong-state', `${name} is no tap, or was made with other flags`, {
      mend: 'Create it with `ip tuntap add NAME mode tap vnet_hdr`.',
    })
  if (result < 0) throw new HoldfastError('host-error', `tap ${name} cannot be opened (errno ${-result})`)
}
