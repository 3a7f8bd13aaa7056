import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { HostId, TaskId, VmId } from '../../../base/ids.ts'
import type { VmObservation } from '../../../contracts/host.ts'
import { aRun, aSpec } from '../../domain/cluster-fixture.ts'
import type { HostRecord, RunRecordStored, TaskRecord, VmRecord } from '../../store/records.ts'
import type { HostRegistry } from '../host-registry.ts'
import type { Mirror } from '../mirror.ts'
import { VmViews } from './vm-views.ts'

const id = 'vm-1' as VmId
const host = 'host-1' as HostId

/** What a mirror and a registry would say; each test replaces what it wants to change, as they do. */
class Inventory {
  vm = { id, name: 'web', power: 'on', operation: null, spec: aSpec(), policies: {} } as unknown as VmRecord
  run = { id, run: aRun({ phase: 'running', host, cause: null, generation: 1 }) } as RunRecordStored
  host = { id: host, name: 'north' } as HostRecord
  hostState = 'connected'
  task: TaskRecord | undefined
  revision = 7
  observation = { vm: id, process: 'running', problem: null, cpuSeconds: 1, rssMiB: 2 } as VmObservation
  readonly views: VmViews

  constructor() {
    const get = (kind: string): unknown => ({ vm: this.vm, run: this.run, host: this.host, task: this.task })[kind]
    this.views = new VmViews(
      { get, revisionOf: () => this.revision } as unknown as Mirror,
      { stateOf: () => this.hostState, observation: () => this.observation } as unknown as HostRegistry,
    )
  }

  look() {
    const kept = this.views.of(this.vm)
    assert.ok(kept)
    return kept
  }
}

test('a view is made once, and again after a change of anything that it shows', () => {
  const inventory = new Inventory()
  let before = inventory.look()
  assert.equal(inventory.look(), before)
  const changes: [string, () => void, (shown: ReturnType<typeof inventory.look>['view']) => boolean][] = [
    ['name', () => (inventory.vm = { ...inventory.vm, name: 'mail' }), (vm) => vm.name === 'mail'],
    ['revision', () => ((inventory.revision = 8), (inventory.vm = { ...inventory.vm })), (vm) => vm.revision === 8],
    ['use', () => (inventory.observation = { ...inventory.observation, rssMiB: 9 }), (vm) => vm.usage?.rssMiB === 9],
    ['process', () => (inventory.observation = { ...inventory.observation, process: 'paused' }), isState('paused')],
    ['host', () => (inventory.host = { ...inventory.host, name: 'south' }), (vm) => vm.host === 'south'],
    ['its state', () => (inventory.hostState = 'unreachable'), isState('unknown')],
    [
      'task',
      () => (inventory.task = { saga: 'vm.stop/1', state: 'stuck', problem: null } as TaskRecord),
      isState('stuck'),
    ],
    [
      'record',
      () => (inventory.run = { ...inventory.run, run: aRun({ phase: 'moving', host }) }),
      (vm) => vm.run.phase === 'moving',
    ],
    [
      'holder',
      () => (inventory.vm = { ...inventory.vm, operation: 'task-3' as TaskId }),
      (vm) => vm.operation === 'task-3',
    ],
  ]
  for (const [what, change, isShown] of changes) {
    change()
    const after = inventory.look()
    assert.notEqual(after, before, what)
    assert.ok(isShown(after.view), what)
    assert.deepEqual(JSON.parse(after.text), JSON.parse(JSON.stringify(after.view)), what)
    assert.equal(inventory.look(), after, what)
    before = after
  }
})

function isState(state: string): (vm: { state: string }) => boolean {
  return (vm) => vm.state === state
}

test('a page in bytes is the page, and the same page is the same bytes until something in it changes', () => {
  const inventory = new Inventory()
  const page = (revision: number) => ({ items: [inventory.look()], next: null, revision })
  const bytes = inventory.views.pageBytes(page(7))
  assert.deepEqual(JSON.parse(bytes.toString()), {
    items: [JSON.parse(inventory.look().text)],
    next: null,
    revision: 7,
  })
  assert.equal(inventory.views.pageBytes(page(7)), bytes)
  assert.equal((JSON.parse(inventory.views.pageBytes(page(8)).toString()) as { revision: number }).revision, 8)
  inventory.observation = { ...inventory.observation, cpuSeconds: 5 }
  assert.match(inventory.views.pageBytes(page(8)).toString(), /"cpuSeconds":5/)
  const empty = inventory.views.pageBytes({ items: [], next: 'vm-9', revision: 1 })
  assert.deepEqual(JSON.parse(empty.toString()), { items: [], next: 'vm-9', revision: 1 })
})

test('a VM without a run record is not shown', () => {
  const inventory = new Inventory()
  inventory.run = undefined as unknown as RunRecordStored
  assert.equal(inventory.views.of(inventory.vm), undefined)
})
