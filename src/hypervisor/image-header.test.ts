import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatByContent, readHeader } from './image-header.ts'

const none = Buffer.alloc(512)

function qcow2(fill: (head: Buffer) => void = () => undefined): Buffer {
  const head = Buffer.alloc(4096)
  head.write('QFI\xfb', 'latin1')
  head.writeUInt32BE(3, 4)
  fill(head)
  return head
}

function vmdk(description: string, capacity = 1024n): Buffer {
  const head = Buffer.alloc(4096)
  head.write('KDMV', 'latin1')
  head.writeBigUInt64LE(capacity, 12)
  head.writeBigUInt64LE(1n, 28)
  head.writeBigUInt64LE(2n, 36)
  head.write(description, 512)
  return head
}

test('a plain qcow2 stands alone', () => {
  assert.deepEqual(readHeader('qcow2', qcow2(), none), {
    format: 'qcow2',
    backingFile: null,
    hasOutsideReference: false,
    isEncrypted: false,
  })
})

test('a qcow2 that names a file of the host is told, by name', () => {
  const head = qcow2((bytes) => {
    bytes.writeBigUInt64BE(200n, 8)
    bytes.writeUInt32BE(11, 16)
    bytes.write('/etc/shadow', 200)
  })
  const found = readHeader('qcow2', head, none)
  assert.equal(found?.backingFile, '/etc/shadow')
  assert.equal(found.hasOutsideReference, true)
})

test('a qcow2 with an external data file, or encrypted, is told', () => {
  assert.equal(
    readHeader(
      'qcow2',
      qcow2((bytes) => bytes.writeBigUInt64BE(4n, 72)),
      none,
    )?.hasOutsideReference,
    true,
  )
  assert.equal(
    readHeader(
      'qcow2',
      qcow2((bytes) => bytes.writeUInt32BE(2, 32)),
      none,
    )?.isEncrypted,
    true,
  )
})

test('a vmdk of one file stands alone; one with extents, a parent or no capacity does not', () => {
  const good = 'parentCID=ffffffff\ncreateType="monolithicSparse"\n'
  assert.equal(readHeader('vmdk', vmdk(good), none)?.hasOutsideReference, false)
  assert.equal(readHeader('vmdk', vmdk(good, 0n), none)?.hasOutsideReference, true)
  assert.equal(
    readHeader('vmdk', vmdk('parentCID=ffffffff\ncreateType="monolithicFlat"'), none)?.hasOutsideReference,
    true,
  )
  assert.equal(
    readHeader(
      'vmdk',
      vmdk('parentCID=1234abcd\ncreateType="monolithicSparse"\nparentFileNameHint="/etc/shadow"'),
      none,
    )?.backingFile,
    '/etc/shadow',
  )
  const text = Buffer.from('# Disk DescriptorFile\nRW 100 FLAT "/etc/shadow" 0\n')
  assert.equal(formatByContent(text, none), 'vmdk')
  assert.equal(readHeader('vmdk', text, none)?.hasOutsideReference, true)
})

test('content that is not of the named format is refused; nothing is guessed when raw is named', () => {
  assert.equal(readHeader('vmdk', qcow2(), none), undefined)
  assert.equal(readHeader('qcow2', Buffer.alloc(100), none), undefined)
  assert.equal(readHeader('raw', qcow2(), none)?.format, 'raw')
})

test('headers cut short or full of nonsense never throw', () => {
  for (const format of ['qcow2', 'vmdk', 'vdi', 'vpc', 'vhdx'] as const) {
    for (const magic of ['QFI\xfb', 'KDMV', 'vhdxfile', 'conectix']) {
      for (const length of [0, 4, 8, 63, 71, 79, 511, 1000]) {
        const head = Buffer.alloc(length, 0xff)
        head.write(magic, 'latin1')
        readHeader(format, head, head.subarray(0, 512))
      }
    }
  }
})
