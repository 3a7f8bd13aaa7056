/**
 * Serial lines in use. QEMU serves one connection to a serial port at a time; a second one would be taken and then hear
 * nothing until the first ends. It is refused here instead, at once.
 */
import type { Duplex } from 'node:stream'
import { isoTime, type Clock } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { VmId } from '../../base/ids.ts'

export class SerialLines {
  readonly #clock: Clock
  /** Since when. */
  readonly #inUse = new Map<VmId, string>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** The line as `connect` opens it; it is free again when that stream has closed. Throws `wrong-state` while it is in use. */
  async open(vm: VmId, connect: () => Promise<Duplex>): Promise<Duplex> {
    const since = this.#inUse.get(vm)
    if (since !== undefined) {
      throw new HoldfastError('wrong-state', `the serial line of ${vm} is in use since ${since}`, {
        since,
        mend: 'Leave the other console first (Ctrl-] ends `holdfast vm console`): a serial line serves one at a time.',
      })
    }
    this.#inUse.set(vm, isoTime(this.#clock.now()))
    try {
      const stream = await connect()
      return stream.once('close', () => this.#inUse.delete(vm))
    } catch (thrown) {
      this.#inUse.delete(vm)
      throw thrown
    }
  }
}
