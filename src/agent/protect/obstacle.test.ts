import assert from 'node:assert/strict'
import { test } from 'node:test'
import { protectionObstacle } from './obstacle.ts'

const able = { kernel: '6.12.38+deb13-amd64', qemu: '10.0.2', accelerator: 'tcg' } as const

test('a host with a new kernel and a new QEMU can hold VMs in step, where its QEMU translates', () => {
  assert.equal(protectionObstacle(able), null)
  assert.equal(protectionObstacle({ ...able, kernel: '6.7.0', qemu: '8.1.0' }), null)
})

test('what is missing is said', () => {
  assert.match(protectionObstacle({ ...able, accelerator: 'kvm' }) ?? '', /KVM/)
  assert.match(protectionObstacle({ ...able, qemu: '7.2.22' }) ?? '', /QEMU 7\.2\.22 .*8\.1/)
  assert.match(protectionObstacle({ ...able, kernel: '6.1.0-40-amd64' }) ?? '', /6\.1\.0-40-amd64 .*6\.7/)
})
