/**
 * One epoch as it goes over the wire: which pages of memory have changed and what is in them now, the state of the devices,
 * and the disks' journal.
 *
 *   u32 length of the head | head (JSON) | pages: (u32 first, u32 count)… | the pages' bytes | devices |
 *   journal
 */
import Value from 'typebox/value'
import { HoldfastError } from '../../../base/errors.ts'
import { pageBytes } from '../../../base/process-memory.ts'
import { Count, Open, Type, type Static } from '../../../contracts/schema.ts'
import type { PageRange } from '../../../hypervisor/checkpoint/guest-memory.ts'
import { ClockBase } from './clock-lag.ts'

const Head = Open({
  n: Count,
  epoch: Count,
  /** Somebody has paused the guest: it is to stay so. */
  isPaused: Type.Boolean(),
  ranges: Count,
  pageBytes: Count,
  deviceBytes: Count,
  journalBytes: Count,
  /** How far the guest's clock was behind when it was taken, and when that was. Absent: an older primary, or not known. */
  clock: Type.Optional(ClockBase),
})

export interface Epoch extends Pick<Static<typeof Head>, 'n' | 'epoch' | 'isPaused'> {
  readonly ranges: readonly PageRange[]
  /** Of `ranges`, one after the other. */
  readonly pages: Uint8Array
  readonly devices: Uint8Array
  readonly journal: readonly Uint8Array[]
  readonly clock?: ClockBase | undefined
}

export function encodeEpoch(epoch: Epoch): Uint8Array[] {
  const { n, isPaused, ranges, pages, devices, journal, clock } = epoch
  const journalBytes = journal.reduce((sum, part) => sum + part.length, 0)
  const head: Static<typeof Head> = {
    ...{ n, epoch: epoch.epoch, isPaused, ranges: ranges.length },
    ...{ pageBytes: pages.length, deviceBytes: devices.length, journalBytes },
    ...(clock === undefined ? {} : { clock }),
  }
  const text = Buffer.from(JSON.stringify(head))
  const length = Buffer.alloc(4)
  length.writeUInt32LE(text.length)
  return [length, text, encodeRanges(ranges), pages, devices, ...journal].filter((part) => part.length > 0)
}

/** Throws `invalid-request` for what is no epoch. */
export function decodeEpoch(bytes: Buffer): Epoch & { readonly journal: readonly [Uint8Array] } {
  const headLength = bytes.length < 4 ? Infinity : bytes.readUInt32LE()
  if (headLength > bytes.length - 4) throw broken('its head is cut off')
  const head = parse(bytes.subarray(4, 4 + headLength))
  let at = 4 + headLength
  const next = (length: number): Buffer => {
    if (at + length > bytes.length) throw broken('it is cut off')
    const part = bytes.subarray(at, at + length)
    at += length
    return part
  }
  const ranges = decodeRanges(next(head.ranges * 8))
  const [pages, devices, journal] = [next(head.pageBytes), next(head.deviceBytes), next(head.journalBytes)]
  const said = ranges.reduce((sum, { count }) => sum + count, 0) * pageBytes
  if (said !== pages.length || at !== bytes.length) throw broken('its lengths contradict each other')
  return {
    n: head.n,
    epoch: head.epoch,
    isPaused: head.isPaused,
    ranges,
    pages,
    devices,
    journal: [journal],
    ...(head.clock === undefined ? {} : { clock: head.clock }),
  }
}

export function encodeRanges(ranges: readonly PageRange[]): Uint8Array {
  const bytes = Buffer.alloc(ranges.length * 8)
  for (const [index, { first, count }] of ranges.entries()) {
    bytes.writeUInt32LE(first, index * 8)
    bytes.writeUInt32LE(count, index * 8 + 4)
  }
  return bytes
}

export function decodeRanges(bytes: Buffer): PageRange[] {
  const ranges: PageRange[] = []
  for (let at = 0; at < bytes.length; at += 8)
    ranges.push({ first: bytes.readUInt32LE(at), count: bytes.readUInt32LE(at + 4) })
  return ranges
}

function parse(bytes: Buffer): Static<typeof Head> {
  let head: unknown
  try {
    head = JSON.parse(bytes.toString())
  } catch {
    throw broken('its head is no JSON')
  }
  if (!Value.Check(Head, head)) throw broken('its head is malformed')
  return head
}

function broken(why: string): HoldfastError {
  return new HoldfastError('invalid-request', `what came is no epoch: ${why}`)
}
