/** What is done with a manager's inventory as a whole, in real data folders. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { silentLogger } from '../base/log.ts'
import type { ManagerSettings } from './data-folder.ts'
import { backupManager, migrateStore, restoreManager } from './inventory-main.ts'
import { initManager, startManager } from './main.ts'

let folder: string

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hf-inventory-'))
})
after(() => rm(folder, { recursive: true, force: true }))

async function made(name: string): Promise<string> {
  const dataDirectory = join(folder, name)
  await initManager({ dataDirectory, addresses: ['127.0.0.1'], listen: { host: '127.0.0.1', port: 0 } })
  return dataDirectory
}

async function settingsOf(dataDirectory: string): Promise<ManagerSettings> {
  return JSON.parse(await readFile(`${dataDirectory}/manager.json`, 'utf8')) as ManagerSettings
}

async function change(dataDirectory: string, to: Partial<ManagerSettings>): Promise<void> {
  const settings = { ...(await settingsOf(dataDirectory)), ...to }
  await writeFile(`${dataDirectory}/manager.json`, JSON.stringify(settings))
}

test('a backup of managers on etcd, in a new folder, is a manager alone and another than was there', async () => {
  const dataDirectory = await made('first')
  const [to, again, alone] = [join(folder, 'backup'), join(folder, 'again'), join(folder, 'alone')]
  await backupManager({ dataDirectory, to })
  await restoreManager({ dataDirectory: again, from: to })
  const { id, cluster } = await settingsOf(dataDirectory)
  assert.equal((await settingsOf(again)).id, id)

  await change(to, { store: { kind: 'etcd', endpoints: ['http://127.0.0.1:1'], prefix: 'x/' } })
  await restoreManager({ dataDirectory: alone, from: to })
  const restored = await settingsOf(alone)
  assert.deepEqual([restored.store, restored.id, restored.cluster], [undefined, undefined, cluster])
})

test('a manager of an older version is to etcd who it was when its move was cut short, although it was started since', async () => {
  const dataDirectory = await made('older')
  await rm(`${dataDirectory}/init.json`)
  await change(dataDirectory, { id: undefined as never, name: undefined as never })
  // An etcd that has no room: the move is cut short.
  await using server = createServer((_request, response) => {
    response.writeHead(429).end(JSON.stringify({ code: 8, message: 'etcdserver: mvcc: database space exceeded' }))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = `etcd://127.0.0.1:${(server.address() as AddressInfo).port}`
  await assert.rejects(migrateStore({ dataDirectory, to: { address } }), { code: 'store-error' })
  const { id } = JSON.parse(await readFile(`${dataDirectory}/init.json`, 'utf8')) as { id: string }
  {
    await using _running = await startManager({ dataDirectory, logger: silentLogger })
  }
  assert.equal((await settingsOf(dataDirectory)).id, id)
})
