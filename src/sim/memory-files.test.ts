import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { MemoryFiles } from './memory-files.ts'
import { SeededRandom } from './seeded-random.ts'

const bytes = (text: string): Uint8Array => Buffer.from(text)

describe('files in memory', () => {
  test('a plain write is lost in a crash, name and all', async () => {
    const files = new MemoryFiles()
    await files.write('/x', 'hello')
    assert.equal(await files.readText('/x'), 'hello')
    files.crash()
    assert.equal(await files.stat('/x'), undefined)
  })

  test('a plain write over a durable file is lost, the old content is back', async () => {
    const files = new MemoryFiles()
    await files.replace('/x', 'old')
    await files.write('/x', 'new')
    files.crash()
    assert.equal(await files.readText('/x'), 'old')
  })

  test('a replaced file survives; a crash after any step of it leaves the old or the new content whole', async () => {
    const outcomes = new Set<string>()
    for (let steps = 1; ; steps++) {
      const files = new MemoryFiles()
      await files.makeDirectory('/a/b')
      await files.replace('/a/b/x', 'old')
      files.crashAfter(steps)
      const isDone = await files.replace('/a/b/x', 'new').then(
        () => true,
        () => false,
      )
      files.boot()
      const found = await files.readText('/a/b/x')
      assert.ok(found === 'old' || found === 'new', found)
      if (isDone) {
        files.crash()
        assert.equal(await files.readText('/a/b/x'), 'new')
        break
      }
      outcomes.add(found)
    }
    assert.deepEqual([...outcomes].sort(), ['new', 'old'])
  })

  test('content that was renamed without a sync is empty after a crash', async () => {
    const files = new MemoryFiles()
    await files.write('/x.tmp', 'data')
    await files.rename('/x.tmp', '/x')
    files.crash()
    assert.equal(await files.readText('/x'), '')
  })

  test('a rename is durable when it resolves, and may be lost before', async () => {
    const files = new MemoryFiles()
    await files.replace('/x', 'data')
    files.crashAfter(1)
    await assert.rejects(files.rename('/x', '/y'), { code: 'EIO' })
    await assert.rejects(files.readText('/x'), { code: 'EIO' })
    files.boot()
    assert.equal(await files.readText('/x'), 'data')
    await files.rename('/x', '/y')
    files.crash()
    assert.deepEqual(await files.list('/'), ['y'])
  })

  test('a handle keeps what it synced and loses what it wrote after', async () => {
    const files = new MemoryFiles()
    const file = await files.open('/log', 'create-new')
    await file.write(0, bytes('one'))
    await file.sync()
    await file.write(3, bytes('two'))
    assert.equal(await files.readText('/log'), 'onetwo')
    files.crash()
    assert.equal(await files.readText('/log'), 'one')
    await assert.rejects(file.write(0, bytes('x')), { code: 'EIO' })
    await assert.rejects(files.open('/log', 'create-new'), { code: 'EEXIST' })
  })

  test('a whole folder can be removed; what is missing is ENOENT, or undefined to stat', async () => {
    const files = new MemoryFiles()
    await files.makeDirectory('/a/b/c')
    await files.replace('/a/b/c/x', '1')
    await files.remove('/a')
    await files.remove('/a')
    files.crash()
    assert.equal(await files.stat('/a/b'), undefined)
    await assert.rejects(files.read('/a/b/c/x'), { code: 'ENOENT' })
    await assert.rejects(files.replace('/a/x', ''), { code: 'ENOENT' })
  })

  test('a full device refuses with ENOSPC and keeps what it had', async () => {
    const files = new MemoryFiles({ capacityBytes: 10 })
    await files.replace('/x', '12345678')
    await assert.rejects(files.write('/y', '123'), { code: 'ENOSPC' })
    assert.equal(await files.readText('/x'), '12345678')
    assert.deepEqual(await files.space('/'), { totalBytes: 10, freeBytes: 2 })
  })

  test('parts are written one behind the other', async () => {
    const files = new MemoryFiles()
    await using file = await files.open('/x', 'create-new')
    await file.writeParts(2, [bytes('ab'), bytes(''), bytes('cd')])
    assert.equal(await files.readText('/x'), '\0\0abcd')
  })

  test('where files tear, a crash leaves some blocks of what was not synced, and all of what was', async () => {
    const seen = new Set<string>()
    for (let seed = 1; seed <= 200; seed++) {
      const files = new MemoryFiles({ tear: new SeededRandom(seed) })
      const file = await files.open('/x', 'create-new')
      await file.write(0, bytes('a'.repeat(64)))
      await file.sync()
      await file.write(64, bytes('b'.repeat(128)))
      files.crash()
      const found = await files.readText('/x')
      assert.equal(found.slice(0, 64), 'a'.repeat(64))
      assert.match(found.slice(64), /^(b{64}|\0{64}){0,2}(b*|\0*)$/)
      assert.ok(found.length <= 192)
      seen.add(found.slice(64).replaceAll(/(.)\1*/g, '$1'))
      await (await files.open('/x', 'read')).read(0, 1)
      files.crash()
      assert.equal(await files.readText('/x'), found)
    }
    assert.ok(seen.has('b') && seen.has('\0') && seen.has('\0b') && seen.has('b\0'), JSON.stringify([...seen]))
  })
})
