import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { HostFacts } from '../contracts/host.ts'
import { VirtualClock } from '../sim/virtual-clock.ts'
import { KnownFacts } from './known-facts.ts'

const factsOf = (hostname: string): HostFacts => ({ hostname }) as HostFacts

/** A host that answers in turn; an error is a host that cannot answer. */
function host(answers: readonly (HostFacts | Error)[]) {
  let at = 0
  const ask = (): Promise<HostFacts> => {
    const answer = answers[Math.min(at++, answers.length - 1)] ?? new Error('never asked')
    return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer)
  }
  return { ask, asked: () => at }
}

/** Lets everything that waits for nothing but its turn go on. */
const settled = async (): Promise<void> => {
  for (let turn = 0; turn < 10; turn++) await Promise.resolve()
}

test('a host is asked anew after a minute, and nobody waits for it', async () => {
  const clock = new VirtualClock()
  const { ask, asked } = host([factsOf('before'), factsOf('after')])
  const facts = new KnownFacts(clock, ask)
  assert.equal((await facts.get()).hostname, 'before')
  await clock.advance(59_000)
  assert.equal((await facts.get()).hostname, 'before')
  assert.equal(asked(), 1)
  await clock.advance(2000)
  assert.equal((await facts.get()).hostname, 'before', 'the newer ones are not there yet')
  await settled()
  assert.equal((await facts.get()).hostname, 'after')
  assert.equal(asked(), 2)
})

test('what was known stays when the host cannot answer any more; one that never has is asked each time', async () => {
  const clock = new VirtualClock()
  const facts = new KnownFacts(clock, host([factsOf('before'), new Error('no QEMU')]).ask)
  await clock.advance(61_000)
  await facts.get()
  await settled()
  assert.equal((await facts.get()).hostname, 'before')
  const { ask } = host([new Error('no QEMU'), new Error('no QEMU'), factsOf('at last')])
  const late = new KnownFacts(clock, ask)
  await assert.rejects(late.get(), /no QEMU/)
  assert.equal((await late.get()).hostname, 'at last')
})
