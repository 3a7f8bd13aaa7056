/** Test code: short ways to name the changes and events of the suite of stores. */
import type { ClaimRecord } from './records.ts'
import type { Change, NewEvent, Revision } from './store.ts'

export const claim = (id: string, owner = 'nobody'): ClaimRecord => ({ id, v: 1, owner })
export const create = (id: string, owner?: string): Change => ({ do: 'create', kind: 'claim', value: claim(id, owner) })
export const update = (id: string, expected: Revision, owner: string): Change => ({
  do: 'update',
  kind: 'claim',
  value: claim(id, owner),
  expected,
})
export const remove = (id: string, expected: Revision): Change => ({ do: 'remove', kind: 'claim', id, expected })
export const check = (id: string, expected: Revision): Change => ({ do: 'check', kind: 'claim', id, expected })
export const event = (message: string): NewEvent => ({
  type: 'test.event',
  subject: null,
  message,
  task: null,
  data: { n: [1] },
})
export const eventPlace = { revision: 0, sequence: 0 }
