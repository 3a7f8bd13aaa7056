/** Test code: an operation as the suite begins it. */
import type { StartOptions } from './engine.ts'
import type { Operation } from './operation.ts'

export async function beginOptions<Params>(
  build: () => Promise<Operation<Params>>,
): Promise<{ params: Params; start: StartOptions }> {
  const { params, target, lock, changes, events } = await build()
  return {
    params,
    start: {
      target,
      startedBy: 'test',
      ...(lock === undefined ? {} : { lock }),
      ...(changes === undefined ? {} : { changes }),
      ...(events === undefined ? {} : { events }),
    },
  }
}
