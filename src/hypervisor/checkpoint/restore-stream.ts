/**
 * A migration stream that brings a saved state into a waiting QEMU whose memory was filled from outside: it names the
 * blocks of memory and their sizes, carries no page of them, and then the devices as `xen-save-devices-state` wrote them.
 *
 * The form is QEMU's own (docs/devel/migration, migration/savevm.c and ram.c): big-endian, a header, the machine's name,
 * the section `ram` as its beginning and its end, a full section for each device, the end, and an empty description.
 */
import { HoldfastError } from '../../base/errors.ts'
import type { RamBlock } from './ram-blocks.ts'

const magic = Buffer.from('QEVM')
const version = 3
const section = { eof: 0, start: 1, end: 3, description: 6, configuration: 7, footer: 0x7e }
/** Flags in the low bits of an offset, from migration/ram.c. */
const [MEM_SIZE, EOS] = [0x04, 0x10]
/** Of no device: QEMU numbers its own from 0 too, but each stream gives the numbers anew. */
const ramSection = 0x7fff0001
const ramVersion = 4

export interface SavedState {
  /** The versioned machine type, as QEMU calls it itself: `pc-i440fx-10.0`. */
  readonly machineType: string
  readonly blocks: readonly Pick<RamBlock, 'name' | 'bytes'>[]
  /** What `xen-save-devices-state` wrote. */
  readonly devices: Uint8Array
}

/** Throws `hypervisor-error` when the devices' state is not what QEMU writes. */
export function restoreStream({ machineType, blocks, devices }: SavedState): Buffer {
  const { length } = devices
  if (length < 9 || !magic.equals(devices.subarray(0, 4)) || devices[length - 1] !== section.eof)
    throw new HoldfastError('hypervisor-error', `the saved state of the devices is broken (${length} bytes)`)
  const total = blocks.reduce((sum, { bytes }) => sum + bytes, 0)
  const list = blocks.flatMap(({ name, bytes }) => [shortText(name), u64(bytes)])
  const footer = Buffer.concat([Buffer.of(section.footer), u32(ramSection)])
  return Buffer.concat([
    ...[magic, u32(version), Buffer.of(section.configuration), u32(machineType.length), Buffer.from(machineType)],
    ...[Buffer.of(section.start), u32(ramSection), shortText('ram'), u32(0), u32(ramVersion)],
    ...[u64(total + MEM_SIZE), ...list, u64(EOS), footer],
    ...[Buffer.of(section.end), u32(ramSection), u64(EOS), footer],
    devices.subarray(8),
    ...[Buffer.of(section.description), u32(2), Buffer.from('{}')],
  ])
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt(value))
  return bytes
}

function shortText(text: string): Buffer {
  const bytes = Buffer.from(text)
  return Buffer.concat([Buffer.of(bytes.length), bytes])
}
