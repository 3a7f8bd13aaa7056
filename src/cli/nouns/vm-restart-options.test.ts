import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sampleAdmission, sampleVm } from '../testing/samples.ts'
import { admissionFacts, changeBody as clusterBody } from './cluster-admission.ts'
import { changeBody } from './vm-change.ts'
import { createBody } from './vm-create.ts'
import { dependencyLines, dependencyOption, priorityWords } from './vm-restart-options.ts'

test('dependencies are read as people write them', () => {
  assert.deepEqual(dependencyOption('db'), [{ vm: 'db', ready: 'running' }])
  const first = dependencyOption('db:port=5432,timeout=2min,then=wait')
  assert.deepEqual(first, [{ vm: 'db', ready: 'port', port: 5432, timeoutSeconds: 120, onTimeout: 'wait' }])
  assert.deepEqual(dependencyOption('cache:guest-agent', first)[1], { vm: 'cache', ready: 'guest-agent' })
  for (const wrong of [
    '',
    ':port=1',
    'db:port',
    'db:port=0',
    'db:port=99999',
    'db:ssh',
    'db,after=5',
    'db,then=stop',
  ]) {
    assert.throws(() => dependencyOption(wrong), /named first|none of|number of seconds/, wrong)
  }
})

test('create and change send priority and dependencies, and change can take them away', () => {
  const dependsOn = dependencyOption('db')
  const made = createBody('web', { wait: true, autoConverge: true, restartPriority: 'high', dependsOn } as never)
  assert.deepEqual([made.policies, made.dependsOn], [{ restartPriority: 'high' }, [{ vm: 'db', ready: 'running' }]])
  assert.deepEqual(changeBody({ dependsOn: false }), { dependsOn: [] })
  assert.deepEqual(changeBody({ restartPriority: 'disabled' }), { policies: { restartPriority: 'disabled' } })
})

test('a VM shows its priority, and what it waits for by name', () => {
  const dependsOn = [
    { vm: 'vm-2', ready: 'port', port: 5432 },
    { vm: 'vm-3', ready: 'running', onTimeout: 'wait' },
  ]
  const vm = sampleVm({ dependsOn })
  assert.equal(priorityWords(vm), 'medium')
  assert.deepEqual(dependencyLines(vm, new Map([['vm-2', 'db']])), [
    'db: port 5432 (starts anyway after 5 min)',
    'vm-3: running (waits as long as it takes)',
  ])
})

test('the settings of the cluster go with each other, and its figures are told', () => {
  assert.deepEqual(clusterBody({ admission: 'hosts', hostFailures: 2 }), { admission: { policy: 'hosts', hosts: 2 } })
  assert.deepEqual(clusterBody({ levelWait: 90 }), { restart: { levelWaitSeconds: 90 } })
  assert.throws(() => clusterBody({ hostFailures: 2 }), /go with --admission/)
  assert.throws(() => clusterBody({}), /nothing to change/)
  const facts = new Map(admissionFacts({ ...sampleAdmission, isKept: false, survives: 0 }))
  assert.deepEqual(
    ['admission', 'capacity', 'reserved', 'is kept', 'survives'].map((name) => facts.get(name)),
    ['room for 1 host failure', '8 GiB', '2 GiB', 'NO', '0 host failures'],
  )
})
