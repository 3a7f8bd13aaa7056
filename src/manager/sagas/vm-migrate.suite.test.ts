import assert from 'node:assert/strict'
import type { DatastoreId, HostId } from '../../base/ids.ts'
import type { MigrateVm } from '../../contracts/vm-requests.ts'
import { beginOptions } from './fake-operation.ts'
import { addVm, disk1, fakeWorld, host1, host2, locals, shared, vm1, type FakeWorld } from './fake-world.ts'
import { sagaSuite, type SuiteTools, type TrialEnd } from './suite.ts'
import { migrateOperation } from './vm-operations.ts'
import { migrateVmSaga } from './vm-migrate.ts'

interface Move {
  readonly request: MigrateVm
  readonly from: DatastoreId
  readonly to: DatastoreId | null
  readonly target: HostId | null
}

/** Exactly one guest runs, where the record says; the VM's disk is one file, where spec and record say. */
async function check(world: FakeWorld, move: Move, end: TrialEnd): Promise<void> {
  const { store } = world.deps
  await world.agents.advance()
  const { run } = (await store.get('run', vm1))!.value
  const vm = (await store.get('vm', vm1))!.value
  assert.equal(run.phase, 'running', `the record is ${run.phase} (${run.cause})`)
  assert.deepEqual(world.agents.runningOn(vm1), [run.host])
  if (end.state === 'done') assert.equal(run.host, move.target ?? run.host)
  assert.equal(run.host === host1, end.state !== 'done')
  for (const agent of world.agents.hosts.values()) {
    const left = agent.vm(vm1).process
    // What the source has sent it ends by itself, when it could not be told.
    assert.ok(agent.id === run.host || left === 'none' || left === 'sent', `${agent.id} still has it ${left}`)
  }
  const place = run.host === host1 || move.to === null ? move.from : move.to
  assert.equal(vm.spec.disks[0]?.datastore, place)
  assert.equal(vm.specAfterMove ?? null, null)
  const disk = (await store.get('disk', disk1))!.value
  assert.equal(disk.datastore, place)
  // A copy that was out of reach at the end is still known of, for the reconciler.
  const known = [place, ...(disk.alsoAt ?? [])].map((each) => `${each}/${disk1}`)
  assert.ok(world.agents.files.has(`${place}/${disk1}`), 'the disk is there')
  for (const file of world.agents.files) assert.ok(known.includes(file), `${file} is known of`)
}

function suite(move: Move): void {
  sagaSuite({
    definition: migrateVmSaga,
    faultyDeps: ['store', 'hosts', 'cluster'],
    world: async (tools: SuiteTools) => {
      const world = await fakeWorld(tools)
      await addVm(world, { on: host1, datastore: move.from })
      const begin = () => migrateOperation(world.deps, vm1, move.request, move.target, move.to)
      return { ...(await beginOptions(begin)), deps: world.deps, check: (end) => check(world, move, end) }
    },
  })
}

suite({ request: {}, from: shared, to: null, target: null })
suite({ request: {}, from: locals[0], to: locals[1], target: host2 })
suite({ request: { allowPostCopy: true }, from: shared, to: null, target: host2 })
