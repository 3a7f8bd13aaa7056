import { randomBytes, randomInt, randomUUID } from 'node:crypto'
import type { Random } from '../random.ts'

/** Randomness from the operating system, fit for secrets. */
export function nodeRandom(): Random {
  return {
    uuid: () => randomUUID(),
    bytes: (count) => randomBytes(count),
    int: (below) => randomInt(below),
  }
}
