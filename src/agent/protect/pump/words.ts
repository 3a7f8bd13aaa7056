/** The words that the two pumps say to each other. Each is said on both links; saying one twice does no harm. */
import Value from 'typebox/value'
import { HoldfastError } from '../../../base/errors.ts'
import { ProtectionConfig } from '../../../contracts/protection.ts'
import { Count, Open, OneOf, Type, type Static } from '../../../contracts/schema.ts'

/** Of these words and of what frames hold. Pumps of another version are refused: a pair is begun anew after an upgrade. */
export const wordsVersion = 1

const said = <const W extends string>(word: W) => ({ is: Type.Literal(word) })

export const Word = Type.Union([
  /** The first word on each connection: in which version it speaks (none: before there were any), which pair it belongs to, and what it carries. */
  Open({ ...said('hello'), v: Type.Optional(Count), vm: Type.String(), n: Count, link: OneOf(['data', 'beats']) }),
  /** The primary's memory, in the order of its pages. */
  Open({
    ...said('memory'),
    machineType: Type.String(),
    blocks: Type.Array(Open({ name: Type.String(), bytes: Count, isRom: Type.Boolean() })),
  }),
  /** The second is ready for pages and epochs. */
  Open({ ...said('ready') }),
  Open({ ...said('beat'), n: Count }),
  Open({ ...said('ack'), n: Count, epoch: Count }),
  Open({ ...said('configure'), next: ProtectionConfig }),
  Open({ ...said('configured'), n: Count }),
  /** The primary cannot or will not go on, and asks for nothing: let the second ask to run. */
  Open({ ...said('take-over'), n: Count }),
  /** The primary goes on alone by the arbiter's word. */
  Open({ ...said('over'), n: Count }),
  /** This side cannot go on with the other, and why. */
  Open({ ...said('refused'), why: Type.String() }),
])
export type Word = Static<typeof Word>

/** Throws `invalid-request`. */
export function parseWord(bytes: Uint8Array): Word {
  let word: unknown
  try {
    word = JSON.parse(Buffer.from(bytes).toString())
  } catch {
    word = undefined
  }
  if (Value.Check(Word, word)) return word
  throw new HoldfastError('invalid-request', 'what came is no word of a pump')
}
