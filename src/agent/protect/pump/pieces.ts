/**
 * What is long is handled in pieces: packed, sent, copied and put in place no more than a megabyte in one go, however much an
 * epoch has. Whoever does more at once cannot say that it lives meanwhile, and is taken for dead.
 */

/** Some tenths of a millisecond of work, or a few where all of its memory is fresh. */
export const pieceBytes = 2 ** 20

export function lengthOf(parts: readonly Uint8Array[]): number {
  return parts.reduce((sum, part) => sum + part.length, 0)
}

/** For what is known to be short. What has one part is not copied. */
export function together<T extends Uint8Array>(parts: readonly T[]): T | Buffer {
  const [first] = parts
  return parts.length === 1 && first !== undefined ? first : Buffer.concat(parts)
}

/** The same bytes, in groups of at most `pieceBytes`. None is empty. */
export function* piecesOf(parts: readonly Uint8Array[]): Generator<Uint8Array[]> {
  let [some, bytes]: [Uint8Array[], number] = [[], 0]
  for (const part of parts) {
    for (let at = 0; at < part.length; at += pieceBytes) {
      const piece = part.subarray(at, at + pieceBytes)
      if (bytes + piece.length > pieceBytes) {
        yield some
        ;[some, bytes] = [[], 0]
      }
      some.push(piece)
      bytes += piece.length
    }
  }
  if (bytes > 0) yield some
}

/** The first `count` bytes, and the rest. Nothing is copied. */
export function splitAt(parts: readonly Buffer[], count: number): readonly [Buffer[], Buffer[]] {
  const [before, after]: [Buffer[], Buffer[]] = [[], []]
  let left = count
  for (const part of parts) {
    if (left > 0) before.push(part.subarray(0, left))
    if (left < part.length) after.push(part.subarray(Math.max(0, left)))
    left -= part.length
  }
  return [before, after]
}
