import assert from 'node:assert/strict'
import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import { test } from 'node:test'
import type { VmId } from '../../base/ids.ts'
import { VirtualClock } from '../../sim/virtual-clock.ts'
import { SerialLines } from './serial-lines.ts'

const [vm, other] = ['vm-1', 'vm-2'] as [VmId, VmId]
const connect = async (): Promise<PassThrough> => new PassThrough()

test('a serial line that is in use is refused at once, and free again when its stream has closed', async () => {
  const lines = new SerialLines(new VirtualClock())
  const opening = lines.open(vm, connect)
  // The first is not even connected yet.
  await assert.rejects(lines.open(vm, connect), (thrown: { code: string; message: string; details: object }) => {
    assert.match(thrown.message, /serial line of vm-1 is in use since/)
    return thrown.code === 'wrong-state' && 'mend' in thrown.details
  })
  const first = await opening
  await assert.rejects(lines.open(vm, connect), { code: 'wrong-state' })
  await lines.open(other, connect)
  first.destroy()
  await once(first, 'close')
  await lines.open(vm, connect)
})

test('a line that could not be opened is not in use', async () => {
  const lines = new SerialLines(new VirtualClock())
  await assert.rejects(lines.open(vm, () => Promise.reject(new Error('nobody listens'))))
  await lines.open(vm, connect)
})
