import assert from 'node:assert/strict'
import { test } from 'node:test'
import { freeBytes, Scratch } from './scratch.ts'

test('the same room is used again, larger where that is needed, and smaller when it was not for long', () => {
  const scratch = new Scratch()
  const first = scratch.room(1000)
  assert.equal(first.length, 1000)
  assert.equal(scratch.room(2 ** 20).buffer, first.buffer)
  const much = scratch.room(100 * 2 ** 20)
  assert.equal(much.length, 100 * 2 ** 20)
  assert.equal(first.length, 0, 'what it replaces is given back')
  for (let epoch = 0; epoch < 50; epoch++) scratch.room(4096)
  assert.equal(scratch.room(80 * 2 ** 20).buffer, much.buffer)
  for (let epoch = 0; epoch < 200; epoch++) scratch.room(4096)
  assert.equal(much.length, 0)
  assert.equal(scratch.room(4096).buffer.byteLength, 2 ** 20)
})

test('what is given back is empty; the pool that small buffers share is left alone', () => {
  const large = Buffer.alloc(2 ** 20)
  freeBytes(large.subarray(5, 100))
  assert.equal(large.length, 0)
  const small = Buffer.from('pooled')
  freeBytes(small)
  assert.equal(small.toString(), 'pooled')
})
