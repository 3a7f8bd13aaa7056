/**
 * Holds what a guest sends. Between the NIC and its tap QEMU's `filter-redirector` leads the frames out through one socket
 * and takes them in again through another; in between they wait here until they may leave. What has come out when the guest
 * stands still, and was not held for an earlier epoch, is what this epoch sent.
 *
 * It reads always, whatever it may not write: a redirector that cannot write stops QEMU. If this program dies, the frames
 * go nowhere until somebody removes the filter (`removeGates`).
 */
import type { Clock } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { CountedStream, Streams } from '../../base/streams.ts'
import type { Qmp } from '../qmp.ts'
import { runPaths } from '../run-directory.ts'

export interface GatedNic {
  readonly key: number
  readonly model: 'virtio' | 'e1000'
}

interface GateDeps {
  readonly qmp: Qmp
  readonly streams: Streams
  readonly clock: Clock
  readonly runDirectory: string
  /** Of QEMU: nobody else is spoken to. */
  readonly pid: number
}

/** How long the kernel may take to hand over what is in a socket already. */
const drainMs = 2000

const gateId = (key: number): string => `gate-${key}`
const outId = (key: number): string => `gate-out-${key}`
const inId = (key: number): string => `gate-in-${key}`

export class OutputGate implements AsyncDisposable {
  readonly #deps: GateDeps
  readonly #nic: GatedNic
  readonly #out: CountedStream
  readonly #in: CountedStream
  #held: Buffer[] = []
  #received = 0
  #isOpen = false
  #onMore: (() => void) | undefined

  private constructor(deps: GateDeps, nic: GatedNic, out: CountedStream, into: CountedStream) {
    this.#deps = deps
    this.#nic = nic
    this.#out = out
    this.#in = into
    for (const { stream } of [out, into]) stream.on('error', () => stream.destroy())
    out.stream.on('data', (bytes: Buffer) => this.#take(bytes))
    // Nothing comes this way; what does not flow does not end.
    into.stream.resume()
  }

  /** Makes the two sockets. Frames go their old way until `close`. */
  static async open(deps: GateDeps, nic: GatedNic): Promise<OutputGate> {
    const { qmp, streams, runDirectory, pid } = deps
    const { own } = runPaths(runDirectory)
    const connect = async (id: string): Promise<CountedStream> => {
      const path = `${own}/${id}`
      const data = { addr: { type: 'unix', data: { path } }, server: true, wait: false }
      await qmp.execute('chardev-add', { id, backend: { type: 'socket', data } })
      return await streams.connectUnix(path, pid)
    }
    await removeGates(qmp, [nic])
    return new OutputGate(deps, nic, await connect(outId(nic.key)), await connect(inId(nic.key)))
  }

  /** From now on the guest's frames come here. To be called while it stands still. */
  async close(): Promise<void> {
    const { key, model } = this.#nic
    await this.#deps.qmp.execute('object-add', {
      ...{ 'qom-type': 'filter-redirector', id: gateId(key), netdev: `nic-${key}`, queue: 'rx' },
      ...{ indev: inId(key), outdev: outId(key), vnet_hdr_support: model === 'virtio' },
    })
  }

  /** Bytes that wait. */
  get heldBytes(): number {
    return this.#held.reduce((sum, { length }) => sum + length, 0)
  }

  /** Calls back, once, when a frame comes that has to wait. */
  onHeld(listener: () => void): void {
    this.#onMore = listener
  }

  /** While the guest stands still: all that it has sent and that was not taken before. Rejects with `timeout`. */
  async take(): Promise<readonly Buffer[]> {
    const { clock } = this.#deps
    const all = this.#received + this.#out.unread()
    const until = clock.monotonic() + drainMs
    while (this.#received < all) {
      if (clock.monotonic() > until) throw new HoldfastError('timeout', 'held output cannot be read')
      await clock.sleep(0)
    }
    const taken = this.#held
    this.#held = []
    return taken
  }

  /** Lets frames go out. */
  release(frames: readonly Buffer[]): void {
    const { stream } = this.#in
    // By one call of the kernel for many.
    stream.cork()
    for (const frame of frames) stream.write(frame)
    stream.uncork()
  }

  /** Frames pass at once from now on. */
  open(): void {
    this.#isOpen = true
    this.release(this.#held)
    this.#held = []
  }

  /** Takes the gate away. What a guest that runs sends in that instant may be lost, as on any network. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.open()
    await this.#settle()
    await removeGates(this.#deps.qmp, [this.#nic])
    this.#out.stream.destroy()
    this.#in.stream.destroy()
  }

  /** What is in the sockets is let through; a guest that sends without end is not waited for. */
  async #settle(): Promise<void> {
    const { clock } = this.#deps
    const until = clock.monotonic() + drainMs
    const isBusy = (): boolean => !this.#out.stream.destroyed && this.#out.unread() + this.#in.unsent() > 0
    while (isBusy() && clock.monotonic() < until) await clock.sleep(1)
  }

  #take(bytes: Buffer): void {
    this.#received += bytes.length
    if (this.#isOpen) return this.release([bytes])
    this.#held.push(bytes)
    const tell = this.#onMore
    this.#onMore = undefined
    tell?.()
  }
}

/** Brings the network of these NICs back to its ordinary way, whoever made the gates. Never rejects. */
export async function removeGates(qmp: Qmp, nics: readonly Pick<GatedNic, 'key'>[]): Promise<void> {
  for (const { key } of nics) {
    await qmp.execute('object-del', { id: gateId(key) }).catch(() => undefined)
    for (const id of [outId(key), inId(key)]) await qmp.execute('chardev-remove', { id }).catch(() => undefined)
  }
}
