/**
 * Secrets that must be used again, and so cannot be kept as a hash: AES-256-GCM under a key that is derived from the cluster
 * CA's private key, which is no part of the store. The context (whose secret it is, and which) is bound in: a text that was
 * put into another record does not open.
 *
 *   v1.NONCE.TAG.TEXT, base64url each
 */
import { createCipheriv, createDecipheriv } from 'node:crypto'
import { HoldfastError } from '../../base/errors.ts'
import type { Random } from '../../base/random.ts'

export interface Sealed {
  seal(plaintext: string, context: string): string
  /** Throws `wrong-state` for a text that was sealed under another key, for another context, or was changed. */
  unseal(text: string, context: string): string
}

const nonceBytes = 12
const cipher = 'aes-256-gcm'

/** `key`: 32 bytes. */
export function sealedBy(key: Uint8Array, random: Pick<Random, 'bytes'>): Sealed {
  return {
    seal(plaintext, context) {
      const nonce = random.bytes(nonceBytes)
      const sealing = createCipheriv(cipher, key, nonce)
      sealing.setAAD(Buffer.from(context, 'utf8'))
      const text = Buffer.concat([sealing.update(plaintext, 'utf8'), sealing.final()])
      return ['v1', ...[nonce, sealing.getAuthTag(), text].map((each) => Buffer.from(each).toString('base64url'))].join(
        '.',
      )
    },
    unseal(text, context) {
      const [version, ...parts] = text.split('.')
      const [nonce, tag, sealed] = parts.map((part) => Buffer.from(part, 'base64url'))
      try {
        if (version !== 'v1' || nonce === undefined || tag?.length !== 16 || sealed === undefined)
          throw new Error('no v1')
        const opening = createDecipheriv(cipher, key, nonce)
        opening.setAAD(Buffer.from(context, 'utf8'))
        opening.setAuthTag(tag)
        return Buffer.concat([opening.update(sealed), opening.final()]).toString('utf8')
      } catch (cause) {
        throw new HoldfastError(
          'wrong-state',
          'a secret that is kept sealed cannot be opened with the key of this cluster',
          {
            mend: 'Give the secret anew: it was sealed under another certificate authority, or its record was changed.',
          },
          { cause },
        )
      }
    },
  }
}

/** Of a manager that has no private key of the authority. */
export const cannotSeal: Sealed = {
  seal: refuse,
  unseal: refuse,
}

function refuse(): never {
  throw new HoldfastError('wrong-state', 'this manager has no key to seal secrets with')
}
