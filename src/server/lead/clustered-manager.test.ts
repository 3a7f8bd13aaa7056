import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { HoldfastError } from '../../base/errors.ts'
import { silentLogger } from '../../base/log.ts'
import { nodeClock, nodeFiles, nodeProcesses, nodeRandom } from '../../base/node/index.ts'
import { Authority } from '../../manager/app/authority.ts'
import type { EtcdInventory } from '../../manager/app/etcd-inventory.ts'
import { ClusteredManager, type ClusteredOptions } from './clustered-manager.ts'

test('a manager for which etcd goes away while it looks whose inventory that is opens it again', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hf-clustered-'))
  const ports = { clock: nodeClock(), files: nodeFiles(), processes: nodeProcesses(), random: nodeRandom() }
  const authority = await Authority.create(join(folder, 'ca'), 'test', ports)
  const said: string[] = []
  const asked = Promise.withResolvers<void>()
  /** An inventory that another manager leads. */
  const inventory = (name: string, mustBe: () => Promise<void>) =>
    ({
      mustBe,
      store: { revision: async () => 1 },
      known: { tell: async () => undefined, list: async () => [] },
      lead: { take: async () => (asked.resolve(), false), rival: async () => undefined },
      [Symbol.asyncDispose]: async () => void said.push(`${name} closed`),
    }) as unknown as EtcdInventory
  const gone = async (): Promise<void> => Promise.reject(new HoldfastError('unreachable', 'etcd does not answer'))
  const inventories = [inventory('first', gone), inventory('second', async () => undefined)]
  {
    await using manager = await ClusteredManager.open({
      ...{ ...ports, authority, logger: silentLogger, serverFolder: join(folder, 'server'), addresses: ['127.0.0.1'] },
      listen: { host: '127.0.0.1', port: 0 },
      self: () => ({ manager: 'm1', name: 'm1', urls: [], version: '1' }),
      openInventory: async () => inventories.shift(),
      seen: { read: async () => 0, write: async () => undefined },
      onManagers: async () => undefined,
    } as unknown as ClusteredOptions)
    await Promise.race([asked.promise, manager.lost])
    assert.deepEqual(said, ['first closed'])
  }
  assert.deepEqual(said, ['first closed', 'second closed'])
  await rm(folder, { recursive: true, force: true })
})
