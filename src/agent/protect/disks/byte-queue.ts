/** Bytes in the order in which they came, taken out in other pieces than they came in, and not copied for it. */
export class ByteQueue {
  #chunks: Buffer[] = []
  /** Of the first chunk, what is taken already. */
  #taken = 0
  #length = 0

  get length(): number {
    return this.#length
  }

  push(chunk: Buffer): void {
    if (chunk.length === 0) return
    this.#chunks.push(chunk)
    this.#length += chunk.length
  }

  /** The next `count` bytes in one piece; there must be as many. Copied only where they came in several. */
  take(count: number): Buffer {
    const parts = this.takeParts(count)
    const [first] = parts
    return first !== undefined && parts.length === 1 ? first : Buffer.concat(parts)
  }

  /** The next `count` bytes as they came; there must be as many. */
  takeParts(count: number): Buffer[] {
    if (count > this.#length) throw new RangeError(`${count} bytes are wanted, and there are ${this.#length}`)
    this.#length -= count
    const parts: Buffer[] = []
    let used = 0
    for (let missing = count; missing > 0;) {
      const chunk = this.#chunks[used] as Buffer
      const part = chunk.subarray(this.#taken, Math.min(chunk.length, this.#taken + missing))
      parts.push(part)
      missing -= part.length
      this.#taken += part.length
      if (this.#taken < chunk.length) break
      this.#taken = 0
      used++
    }
    // One cut for all that was used: a long list is not moved for each of its chunks.
    if (used > 0) this.#chunks.splice(0, used)
    return parts
  }

  clear(): void {
    this.#chunks = []
    this.#taken = 0
    this.#length = 0
  }
}
