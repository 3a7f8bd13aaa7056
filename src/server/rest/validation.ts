/**
 * Validation by the schemas of contracts/: nothing is removed, nothing is filled in, and nothing is coerced but query
 * strings, which are text alone.
 */
import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv'
import addFormatsModule, { type FormatsPlugin } from 'ajv-formats'
import { HoldfastError } from '../../base/errors.ts'
import type { TSchema } from '../../contracts/schema.ts'

// The package is CommonJS: what TypeScript calls its default export is its whole export.
const addFormats = addFormatsModule as unknown as FormatsPlugin

export type Part = 'body' | 'querystring'

export class Validation {
  readonly #exact = newAjv(false)
  readonly #coercing = newAjv(true)
  readonly #compiled = new Map<TSchema, ValidateFunction>()

  /** A check of a part of a request that throws `invalid-request`, naming the field, and returns what was checked. */
  check(schema: TSchema, part: Part, value: unknown): unknown {
    let validate = this.#compiled.get(schema)
    if (validate === undefined) {
      validate = (part === 'body' ? this.#exact : this.#coercing).compile(schema)
      this.#compiled.set(schema, validate)
    }
    if (validate(value)) return value
    throw refusal(validate.errors ?? [], part)
  }
}

function newAjv(coerceTypes: boolean): Ajv {
  const ajv = new Ajv({ coerceTypes, removeAdditional: false, useDefaults: false, allErrors: false, strict: false })
  addFormats(ajv, ['ipv4', 'date-time'])
  return ajv
}

function refusal(errors: readonly ErrorObject[], part: Part): HoldfastError {
  const [error] = errors
  const where = part === 'body' ? 'the request' : 'the query string'
  if (error === undefined) return new HoldfastError('invalid-request', `${where} is malformed`)
  const field = fieldOf(error)
  const subject = field === '' ? where : `${field} in ${where}`
  return new HoldfastError('invalid-request', `${subject} ${sayOf(error)}`, {
    mend: 'See /docs/api for what is expected.',
    ...(field === '' ? {} : { field }),
  })
}

/** `/disks/0/sizeBytes` as `disks[0].sizeBytes`. */
function fieldOf(error: ErrorObject): string {
  const parts = error.instancePath.split('/').slice(1)
  const unknown: unknown = error.params['additionalProperty'] ?? error.params['missingProperty']
  if (typeof unknown === 'string') parts.push(unknown)
  return parts.map((part, at) => (/^\d+$/.test(part) ? `[${part}]` : at === 0 ? part : `.${part}`)).join('')
}

function sayOf(error: ErrorObject): string {
  switch (error.keyword) {
    case 'additionalProperties':
      return 'is unknown'
    case 'required':
      return 'is missing'
    case 'enum':
      return `must be one of ${(error.params['allowedValues'] as unknown[]).join(', ')}`
    default:
      return error.message ?? 'is malformed'
  }
}
