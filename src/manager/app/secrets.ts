/** Secrets are kept as SHA-256 alone. They are 256 random bits, so a plain hash is enough: there is nothing to guess. */
import { hash as digest, timingSafeEqual } from 'node:crypto'
import { secret, type Random } from '../../base/random.ts'

export function hashOf(text: string): string {
  return digest('sha256', text, 'hex')
}

/** Compares a hash with the hash of what was given, in a time that tells nothing. */
export function hashMatches(hash: string, given: string): boolean {
  const [a, b] = [Buffer.from(hash, 'hex'), digest('sha256', given, 'buffer')]
  return a.length === b.length && timingSafeEqual(a, b)
}

export function newSecret(random: Random): string {
  return secret(random, 32)
}
