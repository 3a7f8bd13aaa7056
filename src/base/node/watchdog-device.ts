/** /dev/watchdog by the kernel's API (Documentation/watchdog/watchdog-api.rst). */
import { closeSync, openSync, writeSync } from 'node:fs'
import { HoldfastError } from '../errors.ts'
import { libc } from './libc.ts'

const [setTimeoutRequest, keepAliveRequest] = [0xc0045706n, 0x80045705n]

/**
 * Opens a watchdog, which arms it, with this term in seconds. Throws `host-error` when it cannot be opened (another program has
 * it) or takes no such term; it is disarmed again then.
 */
export function openWatchdogDevice(
  path: string,
  termSeconds: number,
): { readonly termMs: number; pet(): Promise<void>; disarm(): Promise<void> } {
  const fd = open(path)
  const seconds = new Int32Array([termSeconds])
  const bytes = new Uint8Array(seconds.buffer)
  const failed = libc().ioctl(fd, setTimeoutRequest, bytes)
  if (failed !== 0) {
    close(fd)
    throw new HoldfastError('host-error', `${path} takes no term of ${termSeconds} s (error ${-failed})`)
  }
  return {
    // The driver says what it has made of it.
    termMs: (seconds[0] ?? termSeconds) * 1000,
    async pet() {
      const result = libc().ioctl(fd, keepAliveRequest, bytes)
      if (result !== 0) throw new HoldfastError('host-error', `${path} was not petted (error ${-result})`)
    },
    async disarm() {
      close(fd)
    },
  }
}

function open(path: string): number {
  try {
    return openSync(path, 'w')
  } catch (cause) {
    throw new HoldfastError(
      'host-error',
      `${path} cannot be opened`,
      { mend: 'See which program holds it.' },
      { cause },
    )
  }
}

/** The letter V before the end says that it is meant: without it the machine would be reset. */
function close(fd: number): void {
  writeSync(fd, 'V')
  closeSync(fd)
}
