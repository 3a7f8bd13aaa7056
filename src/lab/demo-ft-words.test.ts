import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HoldfastError } from '../base/errors.ts'
import type { Vm } from '../contracts/inventory.ts'
import { checkHosts, liveWords, summaryWords, wholeWords, type FtResult } from './demo-ft-words.ts'
import { TickLog } from './tick-log.ts'

type Seen = Parameters<typeof checkHosts>[0][number]

function host(name: string, state: Seen['state'] = 'connected', maintenance: Seen['maintenance'] = 'off'): Seen {
  return { name, state, maintenance }
}

function refusal(hosts: readonly Seen[]): HoldfastError {
  try {
    checkHosts(hosts)
  } catch (thrown) {
    if (thrown instanceof HoldfastError) return thrown
  }
  assert.fail('it was not refused')
}

function vm(protection: Vm['protection']): Vm {
  return { host: 'host1', protection } as Vm
}

test('two hosts that are up are enough', () => {
  checkHosts([host('host1'), host('host2'), host('host3', 'unreachable')])
})

test('one host that is up is not, and what to do is said', () => {
  const error = refusal([host('host1'), host('host2', 'unreachable'), host('host3', 'connected', 'on')])
  assert.equal(error.code, 'wrong-state')
  assert.match(error.message, /only host1 is/)
  assert.match(error.details.mend ?? '', /lab heal/)
  assert.match(refusal([host('host1')]).details.mend ?? '', /--hosts 3/)
  assert.match(refusal([]).message, /none is/)
})

test('the live line says where it runs, how it is, and how silent the last second was', () => {
  const log = new TickLog()
  for (const [i, at] of [0, 900, 1030, 1990].entries()) log.hear(`${i}\n`, at)
  const syncing = { state: 'syncing', second: 'host2', arbiter: 'host3', n: 1, bytesPerSecond: 0 } as const
  const words = liveWords(vm({ ...syncing, progress: 0.379 }), log, 2000)
  assert.equal(words, 'host1, second copy on host2 37 %, 4 ticks, longest silence in 1 s: 960 ms')
  assert.ok(words.length < 78)
  assert.equal(liveWords(vm({ state: 'unprotected' }), undefined, 0), 'host1, not protected')
})

test('lost and repeated ticks are said, whatever else is', () => {
  const log = new TickLog()
  log.hear('0\n1\n', 0)
  assert.equal(wholeWords(log), '2 ticks on one connection: none was lost, none came twice')
  log.hear('3\n1\nx\n', 5)
  assert.equal(wholeWords(log), '5 ticks on one connection: 1 were lost, 1 came twice, 1 were broken')
})

const result: FtResult = {
  ...{ name: 'demo-ft', from: 'host1', to: 'host2', silenceMs: 612, usualSilenceMs: 31 },
  ...{ ticks: 900, ticksLost: 0, ticksRepeated: 0, protectedAgainMs: 9230, second: 'host3' },
}

test('the summary says what died, how long it was silent, and how to be rid of the VM', () => {
  const text = summaryWords(result, 'sudo ./holdfast')
  for (const part of ['ran on host1', 'runs on host2', '612 ms (31 ms', 'none lost, none twice', '9.2 s']) {
    assert.ok(text.includes(part), `${part} is missing in ${text}`)
  }
  assert.match(text, /sudo \.\/holdfast vm delete demo-ft/)
  assert.match(summaryWords({ ...result, ticksLost: 3 }, ''), /3 LOST OR TWICE/)
})
