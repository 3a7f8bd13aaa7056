import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { VmId } from '../../base/ids.ts'
import { silentLogger } from '../../base/log.ts'
import { VirtualClock } from '../../sim/virtual-clock.ts'
import { Monitored, runMonitor, type WatchedVm } from './monitor-loop.ts'

const vm = 'vm-1' as VmId

function stage(vms: () => Promise<readonly WatchedVm[]>) {
  const clock = new VirtualClock()
  const signs = { doesAnswer: async () => true, framesSent: async () => () => 0 }
  const [monitored, stop] = [new Monitored(), new AbortController()]
  const ended: unknown[] = []
  runMonitor({ clock, log: silentLogger, signs }, monitored, vms, stop.signal).catch((err: unknown) => ended.push(err))
  return { clock, monitored, stop, ended }
}

describe('the loop that looks at guests', () => {
  test('ends with the signal, also while no guest is monitored', async () => {
    for (const isAny of [false, true]) {
      const { clock, monitored, stop, ended } = stage(async () => [])
      if (isAny) monitored.set([{ vm, everyMs: 1000 }])
      await clock.advance(5000)
      assert.deepEqual(ended, [])
      stop.abort(new Error('the agent ends'))
      await clock.advance(0)
      assert.deepEqual(ended.map(String), ['Error: the agent ends'])
    }
  })

  test('goes on after the VMs could not be listed', async () => {
    let [listed, looks] = [0, 0]
    const watched: WatchedVm = { vm, isLookDue: () => true, look: async () => ((looks += 1), undefined) }
    const { clock, monitored, ended } = stage(async () => {
      if (++listed <= 2) throw new Error('the disk is slow')
      return [watched]
    })
    monitored.set([{ vm, everyMs: 1000 }])
    await clock.advance(5500)
    assert.deepEqual([listed, looks, ended], [5, 3, []])
  })
})
