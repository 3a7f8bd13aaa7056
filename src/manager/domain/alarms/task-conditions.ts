/** Alarms of operations. */
import { runbookText, type Condition, type Sight } from './condition.ts'

export const taskStuck: Condition = {
  type: 'task-stuck',
  raiseAfterMs: 0,
  clearAfterMs: 0,
  look: ({ tasks }) =>
    tasks.flatMap(({ id, saga, state, target, problem }): Sight[] => {
      if (state !== 'stuck') return []
      const name = saga.split('/')[0] ?? saga
      const what = target === null ? name : `${name} of ${target.name}`
      const runbook = problem?.details?.['runbook']
      const page = typeof runbook === 'string' && /^[a-z-]+$/.test(runbook) ? runbook : 'stuck-task'
      return [
        {
          subject: { kind: 'task', id, name: what },
          severity: 'critical',
          message: `${what} (${id}) is stuck: ${problem?.detail ?? 'no reason is known'}`,
          mend: [problem?.mend, runbookText(page)].filter((each) => each !== undefined).join(' '),
        },
      ]
    }),
}
