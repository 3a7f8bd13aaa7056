/**
 * The power goes: the inventory lies on a file system of its own (ext4 on a loop device), and the device's content at one
 * moment, without what the kernel still holds in memory, is what a machine finds after it. Needs root.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { copyFile, mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { nodeClock } from '../../src/base/node/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { openSqliteStore } from '../../src/manager/store/sqlite/sqlite-store.ts'
import { assertNothingLost, CommitLoop } from '../support/acknowledged.ts'

const run = promisify(execFile)
const clock = nodeClock()
const logger = silentLogger

/** An ext4 in a file, mounted; more of them may be mounted beside it. Disposing unmounts and removes all. */
async function disk(sizeMiB: number) {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-power-'))
  const mounts: string[] = []
  const image = join(folder, 'disk.img')
  await writeFile(image, '')
  await truncate(image, sizeMiB * 1024 * 1024)
  await run('mkfs.ext4', ['-q', '-F', image])
  const mount = async (file: string): Promise<string> => {
    const at = join(folder, `mount-${mounts.length}`)
    await mkdir(at)
    await run('mount', ['-o', 'loop', file, at])
    mounts.push(at)
    return at
  }
  return {
    at: await mount(image),
    /** What is on the device now, as it would be found after the power went; mounted. */
    afterPowerLoss: async (): Promise<string> => {
      const copy = join(folder, `copy-${mounts.length}.img`)
      await copyFile(image, copy)
      return mount(copy)
    },
    [Symbol.asyncDispose]: async () => {
      for (const at of mounts.reverse()) await run('umount', [at])
      await rm(folder, { recursive: true, force: true })
    },
  }
}

test('power loss loses nothing that was acknowledged', { timeout: 180_000 }, async () => {
  for (const count of [25, 150, 700]) {
    await using device = await disk(64)
    const loop = new CommitLoop(join(device.at, 'inventory.db'))
    await loop.until(count)
    const acks = [...loop.acks]
    loop.child.kill('SIGSTOP')
    const found = await device.afterPowerLoss()
    await loop.kill()
    await using store = await openSqliteStore({ path: join(found, 'inventory.db'), clock, logger })
    await assertNothingLost(store, acks)
  }
})

test('the test of power loss notices a program that does not flush', { timeout: 60_000 }, async () => {
  await using device = await disk(64)
  const loop = new CommitLoop(join(device.at, 'rows.db'), 'unsynced')
  await loop.until(500)
  loop.child.kill('SIGSTOP')
  const found = await device.afterPowerLoss()
  await loop.kill()
  assert.ok(countRows(join(found, 'rows.db')) < 500)
})

/** 0 where not even the table is there. */
function countRows(path: string): number {
  try {
    using sql = new DatabaseSync(path)
    return Number(sql.prepare('SELECT count(*) AS n FROM rows').get()?.['n'])
  } catch {
    return 0
  }
}

test('a disk that is really full fails a commit whole, and room mends it', { timeout: 60_000 }, async () => {
  await using device = await disk(8)
  const path = join(device.at, 'inventory.db')
  const write = (n: number) =>
    ({ do: 'create', kind: 'claim', value: { id: `c-${n}`, v: 1, owner: 'x'.repeat(9000) } }) as const
  let written = 0
  {
    await using store = await openSqliteStore({ path, clock, logger })
    const filler = join(device.at, 'filler')
    await assert.rejects(run('dd', ['if=/dev/zero', `of=${filler}`, 'bs=64k']), /No space left/)
    await assert.rejects(
      async () => {
        for (;;) {
          assert.ok((await store.commit({ changes: [write(written)], events: [] })).ok)
          written++
        }
      },
      { code: 'store-error', message: /is full/ },
    )
    assert.equal(await store.revision(), written)
    await rm(filler)
    assert.ok((await store.commit({ changes: [write(written++)], events: [] })).ok)
  }
  await using store = await openSqliteStore({ path, clock, logger })
  assert.equal((await store.list('claim')).items.length, written)
  assert.equal(await store.revision(), written)
})
