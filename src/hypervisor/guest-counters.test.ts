import assert from 'node:assert/strict'
import { mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { nodeFiles } from '../base/node/index.ts'
import { countOf } from './block-stats.ts'
import { serialTail } from './serial-log.ts'

test('what all drives were asked is one number', () => {
  const stats = { rd_operations: 3, wr_operations: 2, flush_operations: 1 }
  assert.equal(countOf([]), 0)
  assert.equal(countOf([{ stats }, { stats: { ...stats, unmap_operations: 4 } }]), 16)
})

test('the end of the serial log is read, as much as there is, and no other file in its place', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-'))
  try {
    const files = nodeFiles()
    const path = join(folder, 'log')
    const read = async (most: number): Promise<string> => Buffer.from(await serialTail(files, path, most)).toString()
    assert.equal(await read(5), '')
    await files.write(path, 'booting, panic')
    assert.deepEqual([await read(5), await read(100)], ['panic', 'booting, panic'])
    await rm(path)
    await symlink('/etc/hostname', path)
    await assert.rejects(read(5))
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})
