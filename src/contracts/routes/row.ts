/** What a row of the routes table is, and the parts that many rows share. */
import { roles, type Role } from '../roles.ts'
import { Count, Nullable, Open, Strict, Type, type TSchema } from '../schema.ts'

export { roles, type Role }

export interface Route {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'PUT' | 'DELETE'
  /** With `{name}` for path parameters. Objects are named by id here; clients resolve names by `?name=`. */
  readonly path: string
  readonly summary: string
  readonly group: string
  /** The least role that may call it; null: anybody. */
  readonly role: Role | null
  readonly query?: TSchema
  readonly body?: TSchema
  readonly response: TSchema
  readonly status: 200 | 201 | 202 | 204
}

export function route<const R extends Route>(row: R): R {
  return row
}

export const paging = {
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, description: 'default 1000' })),
  after: Type.Optional(Type.String({ description: 'the `next` of the page before' })),
}
export const ListQuery = Strict({ ...paging, name: Type.Optional(Type.String()) })

/** A page of a list; `next` is null on the last. `revision` is what an event stream may resume from. */
export function Page<T extends TSchema>(item: T) {
  return Open({ items: Type.Array(item), next: Nullable(Type.String()), revision: Count })
}

export const Nothing = Type.Null()
export const EmptyBody = Strict({})
