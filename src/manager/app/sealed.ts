/**
 * Secrets in the inventory (passwords of fence devices): sealed with a key of the cluster, which lies beside the certificate
 * authority and in no record, so that a copy of the inventory alone opens none. AES-256-GCM; the context is authenticated, so
 * that what was sealed for one place opens at no other.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import { HoldfastError } from '../../base/errors.ts'

export interface Sealed {
  /** `context` says what the secret is for; it must be given again to open it. */
  seal(plaintext: string, context: string): string
  /** Throws `wrong-state` when it was sealed by another cluster or for another context, or was changed. */
  unseal(text: string, context: string): string
}

const [version, ivBytes, tagBytes] = ['s1', 12, 16]

/** Opens what seals with a key that is derived from the authority's. */
export async function openSealed(authority: { secretKeyMaterial(): Promise<Buffer> }): Promise<Sealed> {
  const material = await authority.secretKeyMaterial()
  return sealedWith(Buffer.from(hkdfSync('sha256', material, '', 'holdfast sealed secrets, version 1', 32)))
}

/** Seals with this key of 32 bytes. */
export function sealedWith(key: Uint8Array): Sealed {
  return {
    seal(plaintext, context) {
      const iv = randomBytes(ivBytes)
      const cipher = createCipheriv('aes-256-gcm', key, iv)
      cipher.setAAD(Buffer.from(context))
      const body = Buffer.concat([cipher.update(plaintext, 'utf8'), cipher.final()])
      return `${version}.${Buffer.concat([iv, body, cipher.getAuthTag()]).toString('base64url')}`
    },
    unseal(text, context) {
      try {
        return open(key, text, context)
      } catch (cause) {
        throw new HoldfastError(
          'wrong-state',
          `a sealed secret (${context}) cannot be opened with this cluster's key`,
          { mend: 'Set the secret anew. Was the inventory brought here without its certificate authority?' },
          { cause },
        )
      }
    },
  }
}

function open(key: Uint8Array, text: string, context: string): string {
  if (!text.startsWith(`${version}.`)) throw new Error('not a sealed secret')
  const all = Buffer.from(text.slice(version.length + 1), 'base64url')
  if (all.length < ivBytes + tagBytes) throw new Error('too short')
  const decipher = createDecipheriv('aes-256-gcm', key, all.subarray(0, ivBytes), { authTagLength: tagBytes })
  decipher.setAAD(Buffer.from(context))
  decipher.setAuthTag(all.subarray(all.length - tagBytes))
  const body = decipher.update(all.subarray(ivBytes, all.length - tagBytes))
  return Buffer.concat([body, decipher.final()]).toString('utf8')
}
