/** The parts that only compute. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { inflateSync } from 'node:zlib'
import { Convergence } from './convergence.ts'
import type { IncomingOptions } from './hypervisor.ts'
import { mayLetGo, runsByItself } from './incoming.ts'
import { diskKeyOf, machineEvent } from './machine-events.ts'
import { machineState } from './machine-state.ts'
import { distinguishedNames, tcpUri } from './migration-settings.ts'
import { memoryProgress } from './outgoing-progress.ts'
import { ppmToPng } from './png.ts'
import { featuresOf, versionOf } from './qemu-version.ts'

describe('state', () => {
  const state = (status: string, migration = 'none', isArriving = false): string =>
    machineState({ status, migration, isArriving })

  test('a source is outgoing until its stream completed, then sent', () => {
    assert.equal(state('running', 'active'), 'outgoing')
    assert.equal(state('finish-migrate', 'device'), 'outgoing')
    assert.equal(state('paused', 'pre-switchover'), 'outgoing')
    assert.equal(state('postmigrate', 'completed'), 'sent')
    assert.equal(state('postmigrate', 'failed'), 'paused')
    assert.equal(state('running', 'cancelled'), 'running')
  })

  test('a target is incoming, then complete until it is let go', () => {
    assert.equal(state('inmigrate', 'none', true), 'incoming')
    assert.equal(state('inmigrate', 'failed', true), 'incoming-failed')
    assert.equal(state('paused', 'completed', true), 'incoming-complete')
    assert.equal(state('paused', 'postcopy-active', true), 'incoming-complete')
    assert.equal(state('running', 'completed', true), 'running')
    assert.equal(state('paused', 'completed', false), 'paused')
  })

  test('a guest that shut down or broke is no paused one', () => {
    assert.equal(state('shutdown'), 'shutdown')
    assert.equal(state('guest-panicked'), 'panicked')
    assert.equal(state('internal-error'), 'failed')
    assert.equal(state('io-error'), 'paused')
  })
})

test('the key of a disk is found in ids, paths and node names', () => {
  assert.equal(diskKeyOf('disk-12'), 12)
  assert.equal(diskKeyOf('/machine/peripheral/disk-3/virtio-backend'), 3)
  assert.equal(diskKeyOf('disk-4-moved-99'), 4)
  assert.equal(diskKeyOf('cdrom-4'), null)
  const event = machineEvent({
    event: 'BLOCK_IO_ERROR',
    data: { device: '', 'qom-path': '/machine/peripheral/disk-3/virtio-backend', operation: 'write', nospace: true },
    at: 0,
  })
  assert.deepEqual(event, { kind: 'io-error', diskKey: 3, isNoSpace: true, isWrite: true })
})

test('who lets an incoming guest go', () => {
  const options: IncomingOptions = {
    listenHost: '::1',
    peerTlsName: null,
    nbdDisks: [],
    allowPostCopy: true,
    then: 'complete',
  }
  assert.equal(runsByItself(options), true)
  assert.equal(mayLetGo(options, 'completed'), false)
  const withDisks = { ...options, nbdDisks: [1] }
  assert.equal(mayLetGo(withDisks, 'completed'), true)
  assert.equal(mayLetGo(withDisks, 'active'), false)
  const held = { ...options, then: 'hold' } as const
  assert.equal(mayLetGo(held, 'completed'), false)
  assert.equal(mayLetGo(held, 'postcopy-active'), true)
  assert.equal(mayLetGo({ ...held, isGuestPaused: true }, 'postcopy-active'), false)
})

test('pre-copy is stuck after passes without progress, and only then', () => {
  const passes = (remaining: number[]): boolean => {
    const convergence = new Convergence(3)
    remaining.forEach((bytes, at) => convergence.observe(at + 1, bytes))
    return convergence.isStuck
  }
  assert.equal(passes([100, 50, 25, 12, 6]), false)
  assert.equal(passes([100, 50, 49, 50, 48]), true)
  assert.equal(passes([100, 50, 49, 50, 20]), false)
})

test('progress counts disks and memory, and its rest is known only when there is headway', () => {
  const ram = {
    transferred: 0,
    remaining: 25,
    total: 100,
    mbps: 8e-6 * 10,
    'dirty-sync-count': 1,
    'dirty-pages-rate': 0,
    'page-size': 4096,
  }
  const progress = memoryProgress({ status: 'active', ram }, { doneBytes: 100, totalBytes: 100 })
  assert.equal(progress.fraction, 175 / 200)
  assert.equal(progress.bytesPerSecond, 10)
  assert.equal(progress.remainingSeconds, 2.5)
  assert.equal(
    memoryProgress({ status: 'active', ram: { ...ram, 'dirty-pages-rate': 1 } }, { doneBytes: 0, totalBytes: 0 })
      .remainingSeconds,
    null,
  )
})

test('names of peers become whole rules, without wildcards of their own', () => {
  assert.deepEqual(distinguishedNames('host-1'), ['CN=host-1', 'CN=host-1,*', '*,CN=host-1', '*,CN=host-1,*'])
  assert.deepEqual(distinguishedNames('O=Holdfast,CN=host-1'), ['O=Holdfast,CN=host-1'])
  assert.ok(!distinguishedNames('host-*')[0]?.includes('*'))
  assert.equal(tcpUri('::1', 5), 'tcp:[::1]:5')
})

test('a PPM becomes a PNG with the same pixels; anything else is refused', () => {
  const rows = Buffer.from([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
  const png = Buffer.from(ppmToPng(Buffer.concat([Buffer.from('P6\n2 2\n255\n'), rows])))
  assert.deepEqual([png.readUInt32BE(16), png.readUInt32BE(20)], [2, 2])
  const at = png.indexOf('IDAT')
  const data = inflateSync(png.subarray(at + 4, at + 4 + png.readUInt32BE(at - 4)))
  assert.deepEqual([...data], [0, 1, 2, 3, 4, 5, 6, 0, 7, 8, 9, 10, 11, 12])
  for (const bad of ['', 'P5\n2 2\n255\n', 'P6\n2 2\n255\nshort', 'P6\n0 2\n255\n'])
    assert.throws(() => ppmToPng(Buffer.from(bad)), { code: 'hypervisor-error' })
})

test('features follow the version, and one that is too old is refused', () => {
  const of = (major: number, minor: number) => featuresOf(versionOf({ qemu: { major, minor, micro: 0 }, package: '' }))
  assert.deepEqual(of(7, 2), { mirrorChangesCopyMode: false, incomingKeepsProcess: false })
  assert.deepEqual(of(10, 0), { mirrorChangesCopyMode: true, incomingKeepsProcess: true })
  assert.throws(() => of(7, 1), { code: 'hypervisor-error' })
})
