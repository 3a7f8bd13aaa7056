/** One simulated process: everything that it holds of the outside goes through it, so that it can die or freeze anywhere. */
import { HoldfastError } from '../../base/errors.ts'
import type { Clock } from '../../base/clock.ts'
import { Life, mortal, mortalClock } from '../mortal.ts'
import type { VirtualClock, VirtualNodeClock } from '../virtual-clock.ts'

export class SimulatedProcess {
  readonly life = new Life()
  readonly #node: VirtualNodeClock
  /** Its own clock; its wall clock can jump. */
  readonly clock: Clock

  constructor(world: VirtualClock) {
    this.#node = world.node()
    this.clock = mortalClock(this.#node, this.life)
    this.life.onEnd(() => this.#node.kill())
  }

  get isAlive(): boolean {
    return !this.life.isOver
  }

  /** A port as this process has it. */
  port<T extends object>(target: T): T {
    return mortal(target, this.life)
  }

  /** SIGKILL. */
  kill(): void {
    this.life.end()
  }

  freeze(): void {
    this.#node.freeze()
    this.life.freeze()
  }

  thaw(): void {
    this.#node.thaw()
    this.life.thaw()
  }

  jump(ms: number): void {
    this.#node.jump(ms)
  }

  /** Somebody asks this process: the answer, or `unreachable` when it is dead or dies meanwhile. */
  async serve<T>(work: () => Promise<T>): Promise<T> {
    await this.life.frozen
    if (this.life.isOver) throw refused()
    const { promise: gone, reject } = Promise.withResolvers<never>()
    using _listener = this.life.onEnd(() => reject(refused()))
    const answer = await Promise.race([work(), gone])
    await this.life.frozen
    return answer
  }
}

function refused(): HoldfastError {
  return new HoldfastError('unreachable', 'the other side closed the connection')
}
