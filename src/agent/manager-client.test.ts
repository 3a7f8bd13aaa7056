import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Readable } from 'node:stream'
import { HoldfastError } from '../base/errors.ts'
import { nodeClock } from '../base/node/index.ts'
import type { HttpRequest, Network } from '../base/network.ts'
import type { HostReport } from '../contracts/host.ts'
import { toProblem } from '../contracts/problem.ts'
import { MemoryFiles } from '../sim/memory-files.ts'
import { VirtualClock } from '../sim/virtual-clock.ts'
import { managerClient } from './manager-client.ts'
import { ManagersFile, toldManagers } from './managers-file.ts'

type Answer = object | HoldfastError

/** Managers that answer as `answers` says at the moment. */
function managers(answers: Record<string, Answer>) {
  const asked: string[] = []
  const network = {
    async request({ url }: HttpRequest) {
      const { origin } = new URL(url)
      asked.push(origin)
      const answer = answers[origin] ?? new HoldfastError('unreachable', `${origin} did not answer`)
      if (!(answer instanceof HoldfastError)) return reply(200, 'application/json', answer)
      if (answer.details['leader'] === undefined) throw answer
      return reply(503, 'application/problem+json', toProblem(answer))
    },
  } as unknown as Network
  return { network, asked, answers }
}

function reply(status: number, type: string, body: object) {
  return { status, headers: { 'content-type': type }, body: Readable.from([Buffer.from(JSON.stringify(body))]) }
}

const [one, two, three] = ['https://one:1', 'https://two:1', 'https://three:1']
const standby = (leader: string, ...more: string[]) =>
  new HoldfastError('unreachable', 'this manager does not lead', {
    leader,
    ...(more.length === 0 ? {} : { leaderUrls: [leader, ...more] }),
  })

test('a manager that does not lead names the leader, which is asked next, and first from then on', async () => {
  const world = managers({ [one]: standby(three), [two]: standby(three), [three]: { life: 'x' } })
  const client = managerClient({
    ...{ ...world, clock: nodeClock(), urls: () => [one, two, three], identity: () => ({ ca: '' }) },
  })
  await client.arbiterLife()
  await client.arbiterLife()
  assert.deepEqual(world.asked, [one, three, three])
  // The leader dies, and another leads.
  world.answers[three] = new HoldfastError('unreachable', 'gone')
  world.answers[one] = { life: 'x' }
  await client.arbiterLife()
  assert.deepEqual(world.asked.slice(3), [three, one])
})

test('a leader that this host does not know yet is asked too, at each of its addresses; and nobody twice', async () => {
  const world = managers({ [one]: standby(two, three), [three]: { life: 'x' } })
  const client = managerClient({
    ...{ ...world, clock: nodeClock(), urls: () => [one], identity: () => ({ ca: '' }) },
  })
  await client.arbiterLife()
  assert.deepEqual(world.asked, [one, two, three])
  // Each takes the other for the leader.
  world.answers[three] = standby(one)
  await assert.rejects(client.arbiterLife(), { code: 'unreachable' })
  assert.deepEqual(world.asked.slice(3), [one, two, three])
})

test('where the managers are asked is kept, and goes on where the one that was joined by is gone for ever', async () => {
  const files = new MemoryFiles()
  await files.makeDirectory('/data')
  const kept = await ManagersFile.open(files, '/data', [one])
  const world = managers({ [one]: { nextReportMs: 1, managers: [one, two] } })
  const told = Promise.withResolvers<void>()
  const options = {
    ...{ ...world, clock: nodeClock(), urls: () => kept.urls, identity: () => ({ ca: '' }) },
    onManagers: (urls: readonly string[]) => void kept.keep(urls).then(told.resolve, told.reject),
  }
  await managerClient(options).report({} as never)
  await told.promise
  const after = await ManagersFile.open(files, '/data', [one])
  assert.deepEqual(
    [after.urls, await toldManagers(files, '/data')],
    [
      [one, two],
      [one, two],
    ],
  )
  world.answers[one] = new HoldfastError('unreachable', 'gone')
  world.answers[two] = { life: 'x' }
  await managerClient({ ...options, urls: () => after.urls }).arbiterLife()
  assert.deepEqual(world.asked.slice(-2), [one, two])
})

test('a refusal is no reason to ask another', async () => {
  const world = managers({ [one]: new HoldfastError('not-allowed', 'no'), [two]: {} })
  const client = managerClient({
    ...{ ...world, clock: nodeClock(), urls: () => [one, two], identity: () => ({ ca: '' }) },
  })
  await assert.rejects(client.arbiterLife(), { code: 'not-allowed' })
  assert.deepEqual(world.asked, [one])
})

test('one manager that stalls does not keep a report from the others, nor do those that are gone', async () => {
  const asked: string[] = []
  const clock = new VirtualClock()
  const leaders = { stalls: true }
  const network = {
    async request({ url, signal, connectMs = 10_000 }: HttpRequest) {
      const { origin } = new URL(url)
      asked.push(origin)
      if (origin === two) {
        await clock.sleep(connectMs, signal)
        throw new HoldfastError('unreachable', 'its machine is off')
      }
      if (origin === three && leaders.stalls) await clock.sleep(60_000, signal)
      if (origin === three) return reply(200, 'application/json', { nextReportMs: 1000 })
      return reply(503, 'application/problem+json', toProblem(standby(three)))
    },
  } as unknown as Network
  const client = managerClient({ network, clock, urls: () => [one, two, three], identity: () => ({ ca: '' }) })
  const report = async (): Promise<number> => {
    const at = clock.monotonic()
    await clock.run(client.report({} as HostReport), 60_000).catch(() => undefined)
    return clock.monotonic() - at
  }
  assert.ok((await report()) <= 1600, 'it is given up, to be made anew')
  leaders.stalls = false
  assert.ok((await report()) <= 100)
  // The one that is off was asked once at most, and stays the last.
  leaders.stalls = true
  assert.ok((await report()) <= 1600)
  leaders.stalls = false
  assert.ok((await report()) <= 100, asked.join())
})
