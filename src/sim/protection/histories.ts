/**
 * What the outside has seen of one protected VM. A history is the life of one running copy from where it branched off
 * another's; an output belongs to an epoch of a history. Whatever breaks a promise is noted in words.
 */
export interface History {
  readonly id: number
  /** The newest epoch whose output has left. */
  released: number
  /** The epoch from which another copy has gone on; later ones of this history must never be seen. */
  branchedAt: number | null
}

export class Histories {
  readonly wrong: string[] = []
  readonly #winners = new Map<number, string>()
  #count = 0

  begin(): History {
    return { id: ++this.#count, released: 0, branchedAt: null }
  }

  /** An output of this epoch leaves. */
  release(history: History, epoch: number): void {
    if (epoch <= history.released) return
    if (history.branchedAt !== null && epoch > history.branchedAt && history.released <= history.branchedAt) {
      this.wrong.push(
        `two outputs: epoch ${epoch} of history ${history.id} left after another copy went on from ${history.branchedAt}`,
      )
    }
    history.released = epoch
  }

  /** Another copy goes on from this epoch. */
  branch(history: History, epoch: number): History {
    if (history.branchedAt !== null) this.wrong.push(`two copies went on from history ${history.id}`)
    if (history.released > epoch) {
      this.wrong.push(
        `an output of an uncommitted epoch: ${history.released} had left, the survivor goes on from ${epoch}`,
      )
    }
    history.branchedAt = epoch
    return { id: ++this.#count, released: epoch, branchedAt: null }
  }

  /** An arbiter has said yes. */
  won(n: number, side: string): void {
    const before = this.#winners.get(n)
    if (before !== undefined && before !== side) this.wrong.push(`configuration ${n} was won by both sides`)
    this.#winners.set(n, side)
  }
}
