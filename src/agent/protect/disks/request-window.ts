/** Bounds what is on its way at once, by requests and by bytes; who waits is let in in the order of coming. */
export class RequestWindow {
  readonly #depth: number
  readonly #maxBytes: number
  readonly #waiting: { readonly bytes: number; enter(): void }[] = []
  #count = 0
  #bytes = 0

  constructor(depth: number, maxBytes: number) {
    this.#depth = depth
    this.#maxBytes = maxBytes
  }

  /** Resolves when there is room; one that is larger than the window has it alone. Every `enter` has its `leave`. */
  async enter(bytes: number): Promise<void> {
    if (this.#waiting.length === 0 && this.#hasRoom(bytes)) return this.#take(bytes)
    await new Promise<void>((enter) => this.#waiting.push({ bytes, enter }))
  }

  leave(bytes: number): void {
    this.#count--
    this.#bytes -= bytes
    for (let next = this.#waiting[0]; next !== undefined && this.#hasRoom(next.bytes); next = this.#waiting[0]) {
      this.#waiting.shift()
      this.#take(next.bytes)
      next.enter()
    }
  }

  #hasRoom(bytes: number): boolean {
    return this.#count === 0 || (this.#count < this.#depth && this.#bytes + bytes <= this.#maxBytes)
  }

  #take(bytes: number): void {
    this.#count++
    this.#bytes += bytes
  }
}
