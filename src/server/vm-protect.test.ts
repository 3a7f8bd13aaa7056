/** Protection over the API: what is refused, with every reason, and what is shown. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HoldfastError } from '../base/errors.ts'
import { nodeClock, nodeFiles, nodeProcesses, nodeRandom } from '../base/node/index.ts'
import { MemoryStore } from '../manager/store/memory/memory-store.ts'
import { TestManager } from './testing/test-manager.ts'

const ports = { clock: nodeClock(), files: nodeFiles(), processes: nodeProcesses(), random: nodeRandom() }
const codeIs = (code: string) => (thrown: unknown) => thrown instanceof HoldfastError && thrown.code === code

test('a VM is protected where another host can hold it, and the plan says who would', { timeout: 30_000 }, async () => {
  await using store = new MemoryStore(ports.clock)
  await using running = await TestManager.open(ports, store)
  await running.addHost(store, 'one')
  const vm = await running.addVm('web')
  const { api } = running.manager
  const { context } = running
  const params = { vm: vm.id }
  assert.deepEqual(vm.protection, { state: 'unprotected' })

  const alone = await api.precheckProtect({ params, body: {} }, context)
  assert.equal(alone.isPossible, false)
  assert.match(alone.reasons[0]?.message ?? '', /no other host/)
  await assert.rejects(api.protectVm({ params, body: {} }, context), codeIs('refused'))
  await assert.rejects(api.unprotectVm({ params, body: {} }, context), codeIs('wrong-state'))
  await assert.rejects(api.protectVm({ params, body: { host: 'nobody' } }, context), codeIs('not-found'))
  await assert.rejects(api.protectVm({ params: { vm: 'vm-99' }, body: {} }, context), codeIs('not-found'))
  await assert.rejects(
    api.precheckProtect({ params, body: { settings: { beatMs: 5000 } } }, context),
    codeIs('invalid-request'),
  )

  await running.addHost(store, 'two')
  const two = await api.precheckProtect({ params, body: { mode: 'latency' } }, context)
  assert.deepEqual([two.isPossible, two.plan?.second, two.plan?.arbiter], [true, 'two', 'managers'])
  await running.addHost(store, 'three')
  const three = await api.precheckProtect({ params, body: { host: 'three' } }, context)
  assert.deepEqual([three.plan?.second, three.plan?.arbiter], ['three', 'two'])
  assert.match(
    (await api.precheckProtect({ params, body: { host: 'one' } }, context)).reasons[0]?.message ?? '',
    /itself/,
  )

  // The fake hosts hold no second copies: what was begun is undone, and nobody wants it afterwards.
  const begun = await api.protectVm({ params, body: {} }, context)
  const ended = await running.manager.tasks.get(begun.id, 20)
  assert.equal(ended.state, 'failed')
  assert.match(ended.problem?.detail ?? '', /cannot do that/)
  const after = await api.getVm({ params }, context)
  assert.deepEqual([after.state, after.protection], ['running', { state: 'unprotected' }])
})
