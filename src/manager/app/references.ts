/** References in requests: an id, or a name. */
import { HoldfastError } from '../../base/errors.ts'
import { resolveRef } from '../domain/names.ts'

/** The item that `ref` means. Throws `not-found`, naming what there is. */
export function resolve<T extends { readonly id: string; readonly name: string }>(
  word: string,
  items: readonly T[],
  ref: string,
): T {
  const found = resolveRef(items, ref)
  if (found !== undefined) return found
  const names = items.slice(0, 10).map((item) => item.name)
  throw new HoldfastError('not-found', `there is no ${word} ${ref}`, {
    mend: names.length === 0 ? `There is no ${word} yet.` : `There are: ${names.join(', ')}.`,
  })
}
