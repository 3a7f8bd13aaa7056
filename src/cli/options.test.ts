import assert from 'node:assert/strict'
import { test } from 'node:test'
import { memoryOption, secondsOption, sizeOption } from './options.ts'
import { createBody, diskOption, nicOption } from './nouns/vm-create.ts'

test('sizes are read as people write them', () => {
  assert.equal(sizeOption('10G'), 10 * 2 ** 30)
  assert.equal(sizeOption('1.5GiB'), 1.5 * 2 ** 30)
  assert.equal(sizeOption('4096'), 4096)
  for (const bad of ['', 'ten', '-1', '1Q', '1e9']) assert.throws(() => sizeOption(bad), /A size is/)
})

test('memory is whole MiB, a bare number is MiB', () => {
  assert.equal(memoryOption('512'), 512)
  assert.equal(memoryOption('2G'), 2048)
  assert.throws(() => memoryOption('1000K'), /whole MiB/)
})

test('times are seconds unless they say otherwise', () => {
  assert.equal(secondsOption('90'), 90)
  assert.equal(secondsOption('5min'), 300)
  assert.equal(secondsOption('1.5h'), 5400)
  assert.throws(() => secondsOption('soon'))
})

test('a disk is a size, or fields', () => {
  assert.deepEqual(diskOption('10G'), [{ sizeBytes: 10 * 2 ** 30 }])
  assert.deepEqual(diskOption('size=1G,image=debian,datastore=fast,format=raw,bus=ide', [{ sizeBytes: 1 }]), [
    { sizeBytes: 1 },
    { sizeBytes: 2 ** 30, image: 'debian', datastore: 'fast', format: 'raw', bus: 'ide' },
  ])
  assert.throws(() => diskOption('10G,colour=red'), /none of/)
  assert.throws(() => diskOption('10G,size=1G'), /twice/)
  assert.throws(() => diskOption('format=vhd'), /one of/)
})

test('a NIC is a network, or fields', () => {
  assert.deepEqual(nicOption('guests'), [{ network: 'guests' }])
  assert.deepEqual(nicOption('network=guests,model=e1000,mac=52:54:00:AA:00:01,address=10.0.0.5'), [
    { network: 'guests', model: 'e1000', mac: '52:54:00:aa:00:01', address: '10.0.0.5' },
  ])
})

test('a request bears only what was asked for', () => {
  const defaults = { wait: true, autoConverge: true }
  assert.deepEqual(createBody('web', defaults), { name: 'web' })
  assert.deepEqual(createBody('web', { ...defaults, image: 'debian', nic: false, start: true, autoConverge: false }), {
    name: 'web',
    disks: [{ image: 'debian' }],
    nics: [],
    policies: { autoConverge: false },
    start: true,
  })
  assert.throws(() => createBody('web', { ...defaults, initrd: 'x' }), /go with --kernel/)
})
