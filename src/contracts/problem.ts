/** Errors on the wire: RFC 9457 problem documents (application/problem+json) with a stable code. */
import { Open, Type, type Static } from './schema.ts'

export { fromProblem, problemMediaType, toProblem } from './problem-errors.ts'

export const Problem = Open({
  type: Type.String({ description: 'a URI that names the kind of problem: /docs/problems#CODE' }),
  title: Type.String(),
  status: Type.Integer(),
  /** The stable code, for programs. */
  code: Type.String(),
  /** What happened, for people. */
  detail: Type.String(),
  /** What to do about it. */
  mend: Type.Optional(Type.String()),
  /** Facts for programs: the holding task, the reasons of a refusal, the field at fault. */
  details: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
})
export type Problem = Static<typeof Problem>
