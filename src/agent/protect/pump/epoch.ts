/**
 * One epoch as it goes over the wire: which pages of memory have changed and what is in them now, the state of the devices,
 * and the disks' journal.
 *
 *   u32 length of the head | head (JSON) | body, packed or not
 *   body: pages: (u32 first, u32 count)… | a kind for each page | the pages' bytes | devices | journal
 */
import Value from 'typebox/value'
import { HoldfastError } from '../../../base/errors.ts'
import { Count, Open, Type, type Static } from '../../../contracts/schema.ts'
import type { PageRange } from '../../../hypervisor/checkpoint/guest-memory.ts'
import { ClockBase } from './clock-lag.ts'
import { pack, unpack } from './packing.ts'
import { checkKinds, type CodedPages } from './page-coding.ts'
import { lengthOf, piecesOf, splitAt, together } from './pieces.ts'
import { freeBytes, type Scratch } from './scratch.ts'

const Head = Open({
  n: Count,
  epoch: Count,
  /** Somebody has paused the guest: it is to stay so. */
  isPaused: Type.Boolean(),
  isPacked: Type.Boolean(),
  ranges: Count,
  pages: Count,
  pageBytes: Count,
  deviceBytes: Count,
  journalBytes: Count,
  /** In test mode: checksums of all memory, as it is once the epoch is in place. */
  check: Type.Optional(Type.Array(Count)),
  /** How far the guest's clock was behind when it was taken, and when that was. Absent: an older primary, or not known. */
  clock: Type.Optional(ClockBase),
})

export interface Epoch extends Pick<Static<typeof Head>, 'n' | 'epoch' | 'isPaused'> {
  readonly ranges: readonly PageRange[]
  readonly pages: CodedPages
  readonly devices: Uint8Array
  readonly journal: readonly Uint8Array[]
  readonly clock?: ClockBase | undefined
  readonly check?: readonly number[] | undefined
}

export interface EncodedEpoch {
  /** As it goes over the wire. */
  readonly parts: readonly Uint8Array[]
  /** Of the body, before and after it was packed. */
  readonly plainBytes: number
  readonly sentBytes: number
}

/** `packing`: room for putting together what is little, where it is to be packed. */
export async function encodeEpoch(epoch: Epoch, packing?: Scratch): Promise<EncodedEpoch> {
  const isPacked = packing !== undefined
  const { n, isPaused, ranges, pages, devices, journal, check, clock } = epoch
  const head: Static<typeof Head> = {
    ...{ n, epoch: epoch.epoch, isPaused, isPacked, ranges: ranges.length, pages: pages.kinds.length },
    ...{ pageBytes: pages.bytes.length, deviceBytes: devices.length, journalBytes: lengthOf(journal) },
    ...(check === undefined ? {} : { check: [...check] }),
    ...(clock === undefined ? {} : { clock }),
  }
  const text = Buffer.from(JSON.stringify(head))
  const length = Buffer.alloc(4)
  length.writeUInt32LE(text.length)
  const plain = [encodeRanges(ranges), pages.kinds, pages.bytes, devices, ...journal].filter((part) => part.length > 0)
  const plainBytes = lengthOf(plain)
  const body = isPacked ? await pack(plain, packing) : plain
  return { parts: [length, text, ...body], plainBytes, sentBytes: lengthOf(body) }
}

/** As it came. Disposing of it gives back the memory that it was read from; nothing of it is good any more then. */
export interface DecodedEpoch extends Epoch, AsyncDisposable {
  readonly journal: readonly [Uint8Array]
}

/**
 * `pieces`: as they came. `mostBytes`: an epoch that says that it is longer is none. `room`: for what is long, one epoch at a
 * time. Throws `invalid-request` for what is no epoch. `breathe` is called again and again: whoever works for long lets others
 * have their turn.
 */
export async function decodeEpoch(
  pieces: readonly Buffer[],
  mostBytes: number,
  room: Scratch,
  breathe: () => Promise<void>,
): Promise<DecodedEpoch> {
  const bytes = lengthOf(pieces)
  const headLength = bytes < 4 ? Infinity : together(splitAt(pieces, 4)[0]).readUInt32LE()
  if (headLength > bytes - 4) throw broken('its head is cut off')
  const [start, rest] = splitAt(pieces, 4 + headLength)
  const head = parse(together(start).subarray(4))
  const length = head.ranges * 8 + head.pages + head.pageBytes + head.deviceBytes + head.journalBytes
  if (length > mostBytes) throw broken(`it has ${length} bytes, more than there can be`)
  if (!head.isPacked && lengthOf(rest) !== length) throw broken('its lengths contradict each other')
  const body = head.isPacked ? await unpack(rest, length, room) : await wholeOf(rest, length, room, breathe)
  let at = 0
  const next = (count: number): Buffer => body.subarray(at, (at += count))
  const ranges = decodeRanges(next(head.ranges * 8))
  const pages = { kinds: next(head.pages), bytes: next(head.pageBytes) }
  if (ranges.reduce((sum, { count }) => sum + count, 0) !== head.pages) throw broken('its pages are not those it names')
  checkKinds(pages.kinds, head.pageBytes)
  const [devices, journal] = [next(head.deviceBytes), next(head.journalBytes)]
  const { n, epoch, isPaused, check, clock } = head
  const dispose = async (): Promise<void> => {
    for (const read of room.holds(body) ? pieces : [...pieces, body]) {
      freeBytes(read)
      await breathe()
    }
  }
  return {
    n,
    epoch,
    isPaused,
    ranges,
    pages,
    devices,
    journal: [journal],
    check,
    clock,
    [Symbol.asyncDispose]: dispose,
  }
}

async function wholeOf(
  parts: readonly Buffer[],
  length: number,
  room: Scratch,
  breathe: () => Promise<void>,
): Promise<Buffer> {
  const [first] = parts
  if (parts.length === 1 && first !== undefined) return first
  const whole = room.room(length)
  let at = 0
  for (const some of piecesOf(parts)) {
    for (const part of some) {
      whole.set(part, at)
      at += part.length
    }
    await breathe()
  }
  return whole
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
