/** One simulated host: the register of an arbiter, and at most one copy of the VM, as primary or as second. */
import { claimed, looked, opened, superseded, type Decided } from '../../contracts/protection-register.ts'
import type { PrimaryState } from '../../agent/protect/primary-side.ts'
import type { SecondState } from '../../agent/protect/second-side.ts'
import type { ProtectionConfig, ProtectionSide, RegisterAnswer, RegisterRecord } from '../../contracts/protection.ts'
import type { History } from './histories.ts'

/** `durable`: the configuration that its pump remembers whatever becomes of it. */
export type Copy =
  | { readonly side: 'primary'; state: PrimaryState; durable: ProtectionConfig; readonly history: History }
  /** `of`: the history that it holds a copy of. */
  | { readonly side: 'second'; state: SecondState; durable: ProtectionConfig; readonly of: History }

/** What follows a second's pump that has died: it gives the VM to the primary, then looks whether it had won before. */
export interface GivingAway {
  readonly ask: 'claim' | 'look'
  readonly config: ProtectionConfig
  readonly acked: number
  readonly of: History
}

export interface RegisterQuestion {
  readonly ask: 'claim' | 'look' | 'supersede'
  readonly n: number
  readonly side: ProtectionSide
  readonly next?: ProtectionConfig
}

export class ProtectedHost {
  readonly name: string
  isUp = true
  frozenUntil = 0
  copy: Copy | null = null
  givingAway: GivingAway | null = null
  /** Names the life of the arbiter's memory. */
  life = 1
  /** Faults that tests plant: what an arbiter that is written wrongly does. */
  answersAnyClaim = false
  #register: RegisterRecord | undefined

  constructor(name: string) {
    this.name = name
  }

  /** Whether configuration n can be decided here. */
  knows(n: number): boolean {
    return this.#register?.config.n === n
  }

  forget(): void {
    this.#register = undefined
    this.life++
  }

  /** Whether it is open, and by whoever means this life of the memory. */
  open(config: ProtectionConfig, life: string): boolean {
    if (life !== String(this.life)) return false
    const record = opened(this.#register, config)
    if (record !== undefined) this.#register = record
    return record !== undefined
  }

  answer(question: RegisterQuestion): RegisterAnswer {
    if (this.answersAnyClaim && question.ask === 'claim') return { is: 'won' }
    const { answer, record } = this.#decide(question)
    if (record !== null) this.#register = record
    return answer
  }

  #decide({ ask, n, side, next }: RegisterQuestion): Decided {
    if (ask === 'claim') return claimed(this.#register, n, side)
    if (ask === 'supersede' && next !== undefined) return superseded(this.#register, n, next)
    return { answer: looked(this.#register, n, side), record: null }
  }
}
