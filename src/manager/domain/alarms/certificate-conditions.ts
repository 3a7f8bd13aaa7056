/** Alarms of certificates. Each is made anew long before its end, so one that is near it says that this does not work. */
import { unknown, type Condition, type Sight } from './condition.ts'

const dayMs = 24 * 60 * 60_000
/** Then it is urgent, whatever the setting. */
const criticalDays = 7

export const certificateEnding: Condition = {
  type: 'certificate-ending',
  raiseAfterMs: 0,
  clearAfterMs: 0,
  look: ({ certificates, now, settings }) =>
    certificates.flatMap(({ subject, what, endsAt }): Sight[] => {
      if (endsAt === null) return [unknown(subject)]
      const days = (endsAt - now) / dayMs
      if (days >= settings.certificateDays) return []
      const when =
        days < 0 ? 'has ended' : `ends in ${days < 2 ? `${Math.floor(days * 24)} hours` : `${Math.floor(days)} days`}`
      const isOfHost = subject.kind === 'host'
      return [
        {
          subject,
          severity: days < criticalDays ? 'critical' : 'warning',
          message: `${what} ${when} and was not made anew`,
          mend: isOfHost
            ? `Look into the log of the agent on ${subject.name}; a new token and \`holdfast agent join\` make a new one.`
            : "Look into the manager's log, and restart the manager.",
        },
      ]
    }),
}
