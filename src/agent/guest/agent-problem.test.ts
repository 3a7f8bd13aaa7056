import assert from 'node:assert/strict'
import { duplexPair, type Duplex } from 'node:stream'
import { test } from 'node:test'
import { nodeClock } from '../../base/node/clock.ts'
import { agentProblem } from './agent-problem.ts'

/** A channel to an agent that answers after so long, or to none that ever does. */
function channel(answerAfterMs: number | null) {
  const [host, far] = duplexPair()
  const clock = nodeClock()
  far.on('data', (data: Buffer) => {
    const mark = /"id":(\d+)/.exec(data.toString('latin1'))?.[1]
    if (mark === undefined || answerAfterMs === null) return
    clock.timer(answerAfterMs, () => far.write(Buffer.from(`\xff{"return": ${mark}}\n`, 'latin1')))
  })
  const asked: string[] = []
  const connectUnix = async (path: string): Promise<Duplex> => (asked.push(path), host)
  return { ports: { clock, network: { connectUnix } }, host, asked }
}

test('an agent is asked within the time that is given, and its channel is free again', async () => {
  const cases = [
    [20, 500, null],
    [null, 20, /did not answer .* in 20 ms/],
  ] as const
  for (const [answerAfterMs, withinMs, expected] of cases) {
    const { ports, host, asked } = channel(answerAfterMs)
    const problem = await agentProblem(ports, '/agent', withinMs)
    if (expected === null) assert.equal(problem, null)
    else assert.match(problem ?? '', expected)
    assert.deepEqual([asked, host.destroyed], [['/agent'], true])
  }
})

test('that nobody has the channel is a problem', async () => {
  const connectUnix = (): Promise<Duplex> => Promise.reject(new Error('nobody is there'))
  const problem = await agentProblem({ clock: nodeClock(), network: { connectUnix } }, '/agent', 20)
  assert.match(problem ?? '', /nobody is there/)
})
