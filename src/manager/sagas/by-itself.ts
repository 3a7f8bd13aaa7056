/** Who began a task: a person, by the name of a token, or the manager by itself. */

/** Reconcilers begin what they do under such names; a token's name has no slash. */
export function isByItself(startedBy: string): boolean {
  return startedBy.startsWith('reconciler/')
}
