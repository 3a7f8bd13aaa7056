import assert from 'node:assert/strict'
import { test } from 'node:test'
import { protectionObstacle, type ProtectionGround } from './obstacle.ts'

const tracker = { kind: 'userfaultfd', reason: 'it was tried here' } as const
const able: ProtectionGround = {
  qemu: '10.0.2',
  accelerator: 'tcg',
  tracker,
  unproved: 'it has not been proved here yet',
}

test('a host with a new enough QEMU, and any tracker that works, can', () => {
  assert.equal(protectionObstacle(able), null)
  assert.equal(protectionObstacle({ ...able, qemu: '8.1.0' }), null)
  assert.equal(protectionObstacle({ ...able, tracker: { kind: 'comparison', reason: 'it was tried here' } }), null)
})

test('what is missing is said', () => {
  assert.match(protectionObstacle({ ...able, qemu: '7.2.22' }) ?? '', /QEMU 7\.2\.22 .*8\.1/)
  const none = { kind: null, reason: 'userfaultfd does not work: errno 1' }
  assert.match(protectionObstacle({ ...able, tracker: none }) ?? '', /which pages a guest writes: .*errno 1/)
})

test('a host that uses KVM can once it has proved itself', () => {
  const kvm: ProtectionGround = { ...able, accelerator: 'kvm' }
  assert.match(protectionObstacle(kvm) ?? '', /KVM.*not been proved here yet.*holdfast ft selftest/)
  assert.equal(protectionObstacle({ ...kvm, unproved: null }), null)
  assert.match(protectionObstacle({ ...kvm, unproved: null, qemu: '7.2.22' }) ?? '', /8\.1/)
})
