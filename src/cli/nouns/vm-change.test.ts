import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fakeManager, fakeWorld } from '../testing/fake-surroundings.ts'
import { page, sampleVm } from '../testing/samples.ts'
import { changeBody } from './vm-change.ts'

test('each option of vm change is a part of the request, and what is not given stays out of it', () => {
  const of = changeBody
  assert.deepEqual(of({ vcpus: 2, memory: 512 }), { vcpus: 2, memoryMiB: 512 })
  assert.deepEqual(of({ virtio: 'legacy' }), { virtio: 'legacy' })
  assert.deepEqual(of({ cdrom: ['empty', 'tools'] }), { cdroms: [{}, { image: 'tools' }] })
  assert.deepEqual(of({ kernel: false }), { kernel: null })
  assert.deepEqual(of({ cmdline: 'debug', initrd: false }), { kernel: { initrd: null, cmdline: 'debug' } })
  assert.deepEqual(of({ postCopy: 'no' }), { policies: { allowPostCopy: false } })
  const medium = { reset: 'on-panic-or-hang', hangAfterMs: 60_000, startupGraceMs: 240_000, maxResets: 3 }
  const monitoring = { ...medium, windowMs: 24 * 3_600_000 }
  assert.deepEqual(of({ monitoring: 'medium' }), { policies: { monitoring } })
  assert.deepEqual(of({ monitoring: 'off', maxResets: 5 }), {
    policies: { monitoring: { reset: 'off', maxResets: 5 } },
  })
  assert.deepEqual(of({ hangAfter: 90 }), { policies: { monitoring: { hangAfterMs: 90_000 } } })
  assert.throws(() => of({ kernel: false, cmdline: 'debug' }), { code: 'invalid-request' })
  assert.throws(() => of({}), { code: 'invalid-request' })
})

test('vm change without --no-kernel and --no-initrd says nothing of them', async () => {
  const asked: unknown[] = []
  const manager = fakeManager({
    listVms: () => page(sampleVm()),
    changeVm: (call) => {
      asked.push(call.input.body)
      return sampleVm()
    },
  })
  assert.equal(await fakeWorld(manager).run('vm', 'change', 'web', '--memory', '1G'), 0)
  assert.equal(await fakeWorld(manager).run('vm', 'change', 'web', '--no-kernel'), 0)
  assert.deepEqual(asked, [{ memoryMiB: 1024 }, { kernel: null }])
})
