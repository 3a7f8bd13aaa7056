/** What every object of the inventory shows of itself. */
export function objectView<Id extends string>(
  record: { readonly id: Id; readonly uuid: string; readonly name: string; readonly created: string },
  revision: number,
): { id: Id; uuid: string; name: string; created: string; revision: number } {
  const { id, uuid, name, created } = record
  return { id, uuid, name, created, revision }
}
