/**
 * The power switch as the managers of a lab see it, with a password, through the lab's fence agent. It can be told to fail, as
 * the devices of real machines do.
 */
import { HoldfastError } from '../base/errors.ts'
import { textField, type Message } from './lines.ts'

/**
 * - `fail`: every answer is an error.
 * - `hang`: there is no answer.
 * - `ignore`: `off` is answered with success, and nothing happens; `status` says what is.
 * - `lie`: the same, and `status` says off from then on.
 */
export const fenceFaults = ['fail', 'hang', 'ignore', 'lie'] as const
export type FenceFault = (typeof fenceFaults)[number]

export interface FencedPower {
  on(host: string): Promise<void>
  off(host: string): Promise<void>
  /** Frozen counts as on. */
  isOff(host: string): Promise<boolean>
}

export class FenceSwitch {
  readonly #power: FencedPower
  readonly #hosts: readonly string[]
  readonly #password: string
  readonly #faults = new Map<string, FenceFault>()
  /** Hosts of which it says that they are off, and has never touched them. */
  readonly #liesOf = new Set<string>()

  constructor(power: FencedPower, hosts: readonly string[], password: string) {
    this.#power = power
    this.#hosts = hosts
    this.#password = password
  }

  fault(host: string, fault: FenceFault | undefined): void {
    this.#liesOf.delete(host)
    if (fault === undefined) this.#faults.delete(host)
    else this.#faults.set(host, fault)
  }

  /** `{verb: on | off | status, host, password}`. */
  async handle(message: Message): Promise<Message> {
    const host = textField(message, 'host')
    if (textField(message, 'password') !== this.#password) {
      throw new HoldfastError('not-allowed', 'the power switch does not know this password')
    }
    if (!this.#hosts.includes(host)) throw new HoldfastError('not-found', `the power switch has no outlet "${host}"`)
    const fault = this.#faults.get(host)
    if (fault === 'hang') return await new Promise<never>(() => undefined)
    if (fault === 'fail') throw new HoldfastError('host-error', 'the power switch has a fault')
    switch (message['verb']) {
      case 'on':
        this.#liesOf.delete(host)
        await this.#power.on(host)
        break
      case 'off':
        if (fault === 'lie') this.#liesOf.add(host)
        if (fault === undefined) await this.#power.off(host)
        break
      case 'status':
        break
      default:
        throw new HoldfastError('invalid-request', `the power switch knows no verb ${textField(message, 'verb')}`)
    }
    return { host, power: this.#liesOf.has(host) || (await this.#power.isOff(host)) ? 'off' : 'on' }
  }
}
