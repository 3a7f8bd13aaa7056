import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { HostId, VmId } from '../../../base/ids.ts'
import { HoldfastError } from '../../../base/errors.ts'
import { silentLogger } from '../../../base/log.ts'
import { claimed, looked, opened, superseded } from '../../../contracts/protection-register.ts'
import type { ArbiterAddress, ArbiterApi, ProtectionConfig, RegisterRecord } from '../../../contracts/protection.ts'
import { VirtualClock } from '../../../sim/virtual-clock.ts'
import { newPrimary } from '../primary-side.ts'
import { changeArbiter } from './arbiter-change.ts'
import { addressOf } from './arbiters.ts'
import { PrimaryProtocol } from './primary-protocol.ts'

const address = (host: string): ArbiterAddress => ({
  ...{ arbiter: host as HostId, urls: [`https://${host}`], tlsName: `${host}.holdfast` },
})
const first = address('host-3')
const config: ProtectionConfig = {
  ...{ vm: 'vm-1' as VmId, n: 1, primary: 'host-1' as HostId, second: 'host-2' as HostId, arbiter: first.arbiter },
}

/** A primary and its second that answers, with arbiters that are asked by where they are, as far as they are up. */
function world({ isSecondThere = true, breaksAtSave = 0 } = {}) {
  const clock = new VirtualClock()
  const registers = new Map<string, RegisterRecord | undefined>([['https://host-3', opened(undefined, config)]])
  const down = new Set<string>()
  const done: string[] = []
  let saves = 0
  const arbiter = (of: ProtectionConfig): ArbiterApi => {
    const [url = ''] = addressOf(of, first).urls
    const asked = async <T>(what: string, work: () => T): Promise<T> => {
      await clock.sleep(2)
      if (down.has(url)) throw new HoldfastError('unreachable', `${url} does not answer`)
      if (what !== '') done.push(`${what} at ${url.slice(8)}`)
      return work()
    }
    const keep = <A>({ answer, record }: { answer: A; record: RegisterRecord | null }): A => {
      if (record !== null) registers.set(url, record)
      return answer
    }
    return {
      arbiterLife: () => asked('', () => ({ life: url })),
      arbiterOpen: ({ config: next }) =>
        asked(`open ${next.n}`, () => void registers.set(url, opened(undefined, next))),
      arbiterClaim: ({ n, side }) => asked(`claim ${n}`, () => keep(claimed(registers.get(url), n, side))),
      arbiterLook: ({ n, side }) => asked(`look ${n}`, () => looked(registers.get(url), n, side)),
      arbiterSupersede: ({ n, next }) => asked(`supersede ${n}`, () => keep(superseded(registers.get(url), n, next))),
    }
  }
  const protocol: PrimaryProtocol = new PrimaryProtocol(
    {
      ...{ clock, log: silentLogger, limits: { silenceMs: 500, askAgainMs: 500 }, arbiter },
      save: (next, lastN) => {
        if (++saves === breaksAtSave) return Promise.reject(new HoldfastError('store-error', 'the disk is full'))
        done.push(`save ${next.n}, last ${lastN}`)
        return Promise.resolve()
      },
      say: (word) => {
        if (word.is !== 'configure' || !isSecondThere) return
        done.push(`the second is told of ${word.next.n} at ${word.next.at?.tlsName}`)
        void protocol.input({ is: 'configured', n: word.next.n })
      },
      ...{ ship: () => undefined, release: () => undefined, kill: () => undefined, onPhase: () => undefined },
    },
    newPrimary(config, 0, 0),
  )
  const beat = async (): Promise<never> => {
    for (;;) {
      await clock.sleep(50)
      await protocol.input({ is: 'beat', n: protocol.state.config.n }).catch(() => undefined)
      await protocol.input({ is: 'tick' }).catch(() => undefined)
    }
  }
  void beat()
  const change = (next: number, to: string, old: 'asked' | 'gone'): Promise<void> =>
    clock.run(changeArbiter({ clock, arbiter }, protocol, { next, arbiter: address(to), old }), 60_000)
  return { protocol, down, done, change, clock }
}

describe('a pump that is to have another arbiter', () => {
  test('asks each where its configuration says, in the order that the protocol demands', async () => {
    const { protocol, done, change } = world()
    await change(2, 'host-4', 'asked')
    const expected = ['save 1, last 2', 'open 2 at host-4', 'supersede 1 at host-3', 'save 2, last 2']
    assert.deepEqual(done, [...expected, 'the second is told of 2 at host-4.holdfast'])
    assert.deepEqual([protocol.state.config.n, protocol.state.config.arbiter], [2, 'host-4'])
    await change(2, 'host-4', 'asked')
    assert.equal(done.length, 5, 'the same again is done already')
  })

  test('with the old one gone it is the second that leaves it first', async () => {
    const { down, done, change } = world()
    down.add('https://host-3')
    await change(2, 'host-4', 'gone')
    const expected = ['save 1, last 2', 'the second is told of 2 at host-4.holdfast', 'save 2, last 2']
    assert.deepEqual(done, [...expected, 'open 2 at host-4'])
  })

  test('says that it is not known when the old one does not answer, and is told then that it is gone', async () => {
    const { protocol, down, change } = world()
    down.add('https://host-3')
    await assert.rejects(change(2, 'host-4', 'asked'), { code: 'timeout' })
    await assert.rejects(change(3, 'host-4', 'asked'), { code: 'wrong-state' })
    await change(4, 'host-4', 'gone')
    assert.deepEqual([protocol.state.config.n, protocol.state.change], [4, null])
  })

  test('changes nothing where the new one does not answer, and takes no number twice', async () => {
    const { protocol, down, change } = world()
    down.add('https://host-4')
    await assert.rejects(change(2, 'host-4', 'asked'), { code: 'unreachable' })
    assert.equal(protocol.state.lastN, 1)
    await change(3, 'host-5', 'asked')
    await assert.rejects(change(2, 'host-4', 'asked'), { code: 'wrong-state' })
    assert.equal(protocol.state.config.n, 3)
  })

  test('is where it was when what it is to remember cannot be written', async () => {
    const { protocol, change } = world({ breaksAtSave: 1 })
    await assert.rejects(change(2, 'host-4', 'gone'), { code: 'store-error' })
    assert.deepEqual([protocol.state.lastN, protocol.state.change], [1, null])
    await change(3, 'host-4', 'gone')
    assert.equal(protocol.state.config.n, 3)
  })

  test('a configuration that nobody has opened is not said to decide while the second is silent', async () => {
    const { protocol, change } = world({ isSecondThere: false })
    await assert.rejects(change(2, 'host-4', 'gone'), { code: 'timeout' })
    assert.deepEqual([protocol.state.config.n, protocol.state.change?.stage], [1, 'promising'])
  })
})
