/** The renewal of a host by the program that its own administrator has put there: what is asked, and what the host says of it. */
import { TaskIdSchema } from './ids.ts'
import { Nullable, OneOf, Open, Time, Type, type Static } from './schema.ts'

export const StartUpgradeRequest = Open({
  /** That asks. The same again starts nothing anew. */
  task: TaskIdSchema,
})

/** Of the newest run of the program. It outlives the agent, which the program may start anew. */
export const UpgradeReport = Open({
  task: TaskIdSchema,
  state: OneOf(['running', 'ended']),
  /** How it ended; null while it runs, and where nobody knows (the machine was switched off under it). */
  code: Nullable(Type.Integer()),
  startedAt: Time,
  endedAt: Nullable(Time),
  /** The end of its log, where it ended with anything but 0; else empty. */
  lastLines: Type.String(),
})
export type UpgradeReport = Static<typeof UpgradeReport>
