import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeClock } from '../../base/node/index.ts'
import type { ProjectId } from '../../base/ids.ts'
import { silentLogger } from '../../base/log.ts'
import { MemoryStore } from '../store/memory/memory-store.ts'
import type { ProjectRecord } from '../store/records.ts'
import { Mirror } from './mirror.ts'

const clock = nodeClock()

function project(number: number, name = `p${number}`): ProjectRecord {
  const id = `project-${number}` as ProjectId
  return { id, uuid: id, name, created: '2026-01-01T00:00:00Z', v: 1, description: '' }
}

test('what was committed before `fresh` is there after it, in order of id', async () => {
  await using store = new MemoryStore(clock)
  await store.commit({ changes: [{ do: 'create', kind: 'project', value: project(10) }], events: [] })
  await using mirror = await Mirror.open({ store, clock, logger: silentLogger })
  assert.deepEqual(
    mirror.list('project').map(({ id }) => id),
    ['project-10'],
  )
  for (const number of [9, 100, 2]) {
    await store.commit({ changes: [{ do: 'create', kind: 'project', value: project(number) }], events: [] })
    assert.equal((await mirror.fresh()).get('project', `project-${number}`)?.name, `p${number}`)
  }
  assert.deepEqual(
    mirror.list('project').map(({ id }) => id),
    ['project-2', 'project-9', 'project-10', 'project-100'],
  )
  const expected = mirror.revisionOf('project', 'project-9')
  await store.commit({ changes: [{ do: 'remove', kind: 'project', id: 'project-9', expected }], events: [] })
  assert.equal((await mirror.fresh()).get('project', 'project-9'), undefined)
  assert.equal(mirror.revisionOf('project', 'project-9'), 0)
})

test('commits that touch nothing mirrored do not hold `fresh` up', async () => {
  await using store = new MemoryStore(clock)
  await using mirror = await Mirror.open({ store, clock, logger: silentLogger })
  const events = [{ type: 'x', subject: null, message: 'x', task: null, data: {} }]
  await store.commit({ changes: [], events })
  await store.commit({
    changes: [
      {
        ...{ do: 'create', kind: 'secret' },
        value: { id: 's', v: 1, kind: 'join', role: 'reader', expires: '', usedBy: null },
      },
    ],
    events: [],
  })
  await mirror.fresh()
  assert.equal(mirror.revision, await store.revision())
})

test('who waits when it closes is told so', async () => {
  await using store = new MemoryStore(clock)
  const mirror = await Mirror.open({ store, clock, logger: silentLogger })
  const waiting = mirror.reach(1_000_000)
  await Promise.all([assert.rejects(waiting, /closing/), mirror[Symbol.asyncDispose]()])
  await assert.rejects(mirror.reach(1_000_000), /closing/)
})
