/**
 * How schemas are written here. Requests are strict: an unknown field is refused. Responses, the agents' wire and stored
 * records are open: unknown fields pass through unharmed, so that old and new versions work side by side.
 */
import {
  Type,
  type Static,
  type TObject,
  type TProperties,
  type TSchema,
  type TSchemaOptions,
  type TUnsafe,
} from 'typebox'

export { Type, type Static, type TSchema }

/** A request body or query: unknown fields are refused. */
export function Strict<P extends TProperties>(properties: P, options: TSchemaOptions = {}): TObject<P> {
  return Type.Object(properties, { ...options, additionalProperties: false })
}

/** A response, a message between manager and agent, or a stored record: unknown fields are kept. */
export function Open<P extends TProperties>(properties: P, options: TSchemaOptions = {}): TObject<P> {
  return Type.Object(properties, { ...options, additionalProperties: true })
}

/** One of these words. */
export function OneOf<const T extends string>(words: readonly T[], options: TSchemaOptions = {}): TUnsafe<T> {
  return Type.Unsafe<T>({ type: 'string', enum: [...words], ...options })
}

export function Nullable<T extends TSchema>(schema: T, options: TSchemaOptions = {}): TUnsafe<Static<T> | null> {
  return Type.Unsafe<Static<T> | null>({ anyOf: [schema, { type: 'null' }], ...options })
}

/** A short id of a kind, typed by its brand. */
export function Id<T extends string>(prefix: string): TUnsafe<T> {
  return Type.Unsafe<T>({ type: 'string', pattern: `^${prefix}-[1-9][0-9]{0,15}$`, examples: [`${prefix}-1`] })
}

export const Uuid = Type.String({ pattern: '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' })
export const Time = Type.String({ format: 'date-time', description: 'ISO 8601, UTC' })
export const Mac = Type.String({ pattern: '^[0-9a-f]{2}(:[0-9a-f]{2}){5}$', examples: ['52:54:00:12:34:56'] })
export const Ipv4 = Type.String({ format: 'ipv4' })
export const Sha256 = Type.String({ pattern: '^[0-9a-f]{64}$' })

/**
 * Names of objects: letters, digits, spaces, dots, dashes and underscores, beginning and ending with a letter or digit.
 * So no name can be a path, an option, or markup.
 */
export const Name = Type.String({
  minLength: 1,
  maxLength: 80,
  pattern: '^[A-Za-z0-9]([A-Za-z0-9 ._-]{0,78}[A-Za-z0-9])?$',
  description: 'letters, digits, space, dot, dash, underscore; begins and ends with a letter or digit; at most 80',
})

/** The largest whole number that JSON carries exactly is the bound of every count and size. */
export const Count = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })

/** References in requests are ids or names of siblings. */
export const Ref = Type.String({ minLength: 1, maxLength: 80, description: 'id or name' })
