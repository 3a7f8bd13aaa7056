/** Scenario files that are wrong are refused before anything is played, with the place and what is allowed there. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { readScenario } from './read.ts'
import { hostEvents, otherEvents, vmEvents } from './words.ts'

const good = {
  about: 'a sentence that is long enough for one',
  topology: { fences: 'all', vms: { app: { on: 'node1' } } },
  steps: [{ at: '5s', do: 'crash node1' }],
  expect: { events: [{ is: 'host.fenced node1', within: '9s' }], settled: ['app on node2|node3'] },
}

const read = (file: unknown) => readScenario('x.json', JSON.stringify(file))
const refused = (file: unknown, words: RegExp): void => assert.throws(() => read(file), words)

test('a file that is right is read', () => {
  assert.deepEqual(read(good).names.vms, ['app'])
})

test('what the schema does not know is named with its path and what is known', () => {
  refused(
    { ...good, topology: { ...good.topology, fence: 1 } },
    /x\.json: topology\.fence is unknown; known are .*fences/,
  )
  refused({ ...good, about: undefined }, /about is missing/)
  refused({ ...good, steps: [{ at: '5 seconds', do: 'crash node1' }] }, /steps\[0\]\.at must look like such as 500ms/)
  const vms = { app: { on: 'node1', priority: 'urgent' } }
  refused({ ...good, topology: { vms } }, /topology\.vms\.app\.priority must be one of disabled, low, medium/)
  assert.throws(() => readScenario('x.json', '{'), /x\.json: it is no JSON/)
})

test('a host, a VM, a datastore that is not there is refused where it is named', () => {
  refused(
    { ...good, steps: [{ at: '5s', do: 'crash node4' }] },
    /steps\[0\]\.do: “node4” is not hosts .*node1, node2, node3/,
  )
  refused({ ...good, steps: [{ at: '5s', do: 'kill qemu of web' }] }, /“web” is not a VM \(there are: app\)/)
  refused({ ...good, topology: { vms: { app: { on: 'node7' } } } }, /topology\.vms\.app\.on: there is no “node7”/)
  refused({ ...good, expect: { settled: ['app on node9'] } }, /expect\.settled\[0\]: “node9” is not a host/)
  refused({ ...good, expect: { settled: ['alarm host-up node1'] } }, /“host-up” is not one of host-down/)
})

test('a command, an event or a word of it that is not known is refused with those that are', () => {
  refused({ ...good, steps: [{ at: '5s', do: 'crash' }] }, /steps\[0\]\.do: “crash” is none of: crash HOSTS/)
  refused(
    { ...good, expect: { events: [{ is: 'vm.restarted app' }] } },
    /there is no event “vm\.restarted”; one of: vm\.absent/,
  )
  refused({ ...good, expect: { events: [{ is: 'host.fenced node5' }] } }, /events\[0\]\.is: “node5” cannot stand there/)
  refused(
    { ...good, expect: { ...good.expect, never: ['runs web'] } },
    /never\[0\]: “web” cannot stand there; one of: app/,
  )
  refused({ ...good, expect: { events: [{ is: 'host.fenced', from: 'do boot node1' }] } }, /no step does “boot node1”/)
  refused({ ...good, steps: [{ after: 'host.fence node1', do: 'boot node1' }] }, /steps\[0\]\.after: there is no event/)
})

test('a file that expects nothing that must be is refused', () => {
  refused({ ...good, expect: { never: ['runs app'] } }, /it says nothing that must be/)
  refused({ ...good, expect: { events: [{ is: 'do crash node1' }] } }, /what a step does is no expectation/)
})

test('the events that can be expected are those of the manager', () => {
  const manager = join(import.meta.dirname, '../../manager')
  const sources = readdirSync(manager, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'))
  const text = sources.map((name) => readFileSync(join(manager, name), 'utf8')).join('\n')
  for (const type of [...vmEvents, ...hostEvents, ...otherEvents]) {
    // Two are made of a stem and the reason.
    const stem = type.replace(/(reset-after-).*/, '$1')
    assert.ok(text.includes(`'${type}'`) || text.includes(`\`${stem}`), `nothing tells ${type}`)
  }
})
