import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DatastoreId } from '../../base/ids.ts'
import { MemoryFiles } from '../../sim/memory-files.ts'
import { VirtualClock } from '../../sim/virtual-clock.ts'
import { Datastores } from './datastores.ts'

const config = { datastore: 'ds-1' as DatastoreId, name: 'ds', path: '/ds', isShared: true }

/** Storage that can be made to hang. */
class Hanging extends MemoryFiles {
  #going = Promise.resolve()

  hang(): () => void {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#going = promise
    return resolve
  }

  override async readText(path: string): Promise<string> {
    await this.#going
    return super.readText(path)
  }
}

test('storage that hung and answers again is usable again, also when the host was configured meanwhile', async () => {
  const [files, clock] = [new Hanging(), new VirtualClock()]
  const datastores = new Datastores({ files, clock, cluster: 'the-cluster', dataDirectory: '/data' })
  const problem = async (): Promise<string | null | undefined> => (await datastores.observe())[0]?.problem
  const story = async (): Promise<void> => {
    await datastores.configure([config])
    assert.equal(await problem(), null)
    const goOn = files.hang()
    const from = clock.monotonic()
    assert.equal(await problem(), 'the storage does not answer')
    assert.equal(clock.monotonic() - from, 1000)
    await datastores.configure([{ ...config, name: 'renamed' }])
    assert.equal(await problem(), 'the storage does not answer')
    assert.equal(clock.monotonic() - from, 1000, 'one that is late is not waited for again')
    goOn()
    await clock.sleep(10)
    assert.equal(await problem(), null)
  }
  await clock.run(story(), 60_000)
})
