/** Randomness, passed in, so that a printed seed replays a simulated run. */
export interface Random {
  uuid(): string
  bytes(count: number): Uint8Array
  /** A whole number in [0, below). */
  int(below: number): number
}

/** A secret for URLs and headers: `bytes` bytes of randomness, base64url. */
export function secret(random: Random, bytes = 32): string {
  return Buffer.from(random.bytes(bytes)).toString('base64url')
}
