/**
 * Names. A name is unique among siblings of its kind; the claim that guards it is made in the same commit as its owner.
 * A name of the form of a short id is refused, so that a word on the command line is never both.
 */
import { idPrefixes, isShortId, type ObjectKind } from '../../base/ids.ts'

/** Why this cannot be a name, in words; undefined when it can. */
export function nameProblem(name: string): string | undefined {
  if (!/^[A-Za-z0-9]([A-Za-z0-9 ._-]{0,78}[A-Za-z0-9])?$/.test(name)) {
    return 'a name has letters, digits, spaces, dots, dashes and underscores, and begins and ends with a letter or digit'
  }
  const kinds = Object.keys(idPrefixes) as ObjectKind[]
  const kind = kinds.find((each) => isShortId(each, name.toLowerCase()))
  return kind === undefined ? undefined : `${name} has the form of the id of a ${kind}`
}

/** Key of the claim on a name: kind, parent and the name in lower case, so that Web and web are one. */
export function nameClaim(kind: ObjectKind, parent: string, name: string): string {
  return `${kind}/${parent}/${name.toLowerCase()}`
}

export function macClaim(mac: string): string {
  return `mac/${mac.toLowerCase()}`
}

export function addressClaim(network: string, address: string): string {
  return `address/${network}/${address}`
}

/** The addresses that are claimed on a network, from the keys of all claims. */
export function claimedAddresses(network: string, claims: Iterable<string>): Set<string> {
  const prefix = `address/${network}/`
  const found = new Set<string>()
  for (const claim of claims) if (claim.startsWith(prefix)) found.add(claim.slice(prefix.length))
  return found
}

/** A name as a DNS label, for the hostname of a lease: `Web 1` gives `web-1`. */
export function hostnameOf(name: string): string {
  const label = name
    .toLowerCase()
    .replaceAll(/[^a-z0-9-]+/g, '-')
    .replaceAll(/^-+|-+$/g, '')
    .slice(0, 63)
  return label === '' ? 'vm' : label
}

/** The item that a reference (an id or a name) means; an id wins. Names are compared without regard to case. */
export function resolveRef<T extends { readonly id: string; readonly name: string }>(
  items: Iterable<T>,
  ref: string,
): T | undefined {
  let named: T | undefined
  for (const item of items) {
    if (item.id === ref) return item
    if (item.name.toLowerCase() === ref.toLowerCase()) named ??= item
  }
  return named
}
