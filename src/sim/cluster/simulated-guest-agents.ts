/** The agents in simulated guests: their channel is there while QEMU is, and they answer some time after the guest's start. */
import { EventEmitter } from 'node:events'
import type { Duplex } from 'node:stream'
import { HoldfastError } from '../../base/errors.ts'
import type { FakeGuest } from '../fake-guest.ts'

/** What stands for the stream: events and writes at once, since real streams take turns of the real event loop. */
class Channel extends EventEmitter {
  readonly #guest: FakeGuest

  constructor(guest: FakeGuest) {
    super()
    this.#guest = guest
  }

  write(data: string | Buffer): boolean {
    const mark = /"guest-sync-delimited","arguments":\{"id":(\d+)\}/.exec(data.toString('latin1'))?.[1]
    if (mark === undefined || !this.#guest.hasAgent) return true
    queueMicrotask(() => this.emit('data', Buffer.from(`\xff{"return": ${mark}}\n`, 'latin1')))
    return true
  }

  destroy(): void {
    this.removeAllListeners()
  }
}

/** Opens the channel of the guest whose run folder the socket is in. */
export async function connectGuestAgent(guests: readonly FakeGuest[], path: string): Promise<Duplex> {
  const guest = guests.find(({ config }) => path.startsWith(`${config.runDirectory}/`))
  if (guest === undefined) throw new HoldfastError('unreachable', `nobody listens on ${path}`)
  return new Channel(guest) as unknown as Duplex
}
