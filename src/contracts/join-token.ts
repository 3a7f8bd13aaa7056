/**
 * The text that a person carries from the manager to a new host: `hfj.SECRET.CA`. It holds the cluster's CA certificate
 * whole (base64url of its DER form), so the joining host believes that authority alone from its first connection on,
 * and never needs to fetch one that it cannot check.
 */
export interface JoinToken {
  /** What the manager knows the hash of; works once. */
  readonly secret: string
  /** The cluster's CA certificate, PEM. */
  readonly ca: string
}

export function formatJoinToken(token: JoinToken): string {
  const base64 = token.ca.replace(/-----(BEGIN|END) CERTIFICATE-----/g, '').replace(/\s+/g, '')
  return `hfj.${token.secret}.${Buffer.from(base64, 'base64').toString('base64url')}`
}

/** The parts of a join token; undefined for text that is not one (a piece may be missing from the copy). */
export function readJoinToken(text: string): JoinToken | undefined {
  const match = /^hfj\.([A-Za-z0-9_-]{20,100})\.([A-Za-z0-9_-]{100,4000})$/.exec(text.trim())
  if (match?.[1] === undefined || match[2] === undefined) return undefined
  const lines = Buffer.from(match[2], 'base64url')
    .toString('base64')
    .match(/.{1,64}/g)
  const ca = `-----BEGIN CERTIFICATE-----\n${(lines ?? []).join('\n')}\n-----END CERTIFICATE-----\n`
  return { secret: match[1], ca }
}

/** The same for one more manager: `hfm.SECRET.CA`. It opens more than a host's, so neither is taken for the other. */
export function formatManagerToken(token: JoinToken): string {
  return formatJoinToken(token).replace(/^hfj/, 'hfm')
}

/** Undefined for text that is none. */
export function readManagerToken(text: string): JoinToken | undefined {
  return text.trim().startsWith('hfm.') ? readJoinToken(text.trim().replace(/^hfm/, 'hfj')) : undefined
}
