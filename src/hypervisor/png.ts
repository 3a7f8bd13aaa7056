/** Pictures: QEMU's PPM (every version writes it) → PNG. Pure. */
import { crc32, deflateSync } from 'node:zlib'
import { HoldfastError } from '../base/errors.ts'

const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])
const truecolour = 2

/** Rejects anything but a binary PPM with 8 bits a channel by throwing `hypervisor-error`. */
export function ppmToPng(ppm: Uint8Array): Uint8Array {
  const { width, height, offset } = readHeader(ppm)
  const rowBytes = width * 3
  if (ppm.length < offset + rowBytes * height) throw notAPicture()
  const rows = Buffer.alloc((rowBytes + 1) * height)
  // Each row begins with its filter; 0 is none.
  for (let y = 0; y < height; y++)
    rows.set(ppm.subarray(offset + y * rowBytes, offset + (y + 1) * rowBytes), y * (rowBytes + 1) + 1)
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width, 0)
  header.writeUInt32BE(height, 4)
  header.set([8, truecolour, 0, 0, 0], 8)
  return Buffer.concat([
    signature,
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(rows, { level: 6 })),
    chunk('IEND', Buffer.alloc(0)),
  ])
}

function readHeader(ppm: Uint8Array): { width: number; height: number; offset: number } {
  const head = Buffer.from(ppm.subarray(0, 64)).toString('latin1')
  const match = /^P6\s+([0-9]{1,5})\s+([0-9]{1,5})\s+255\s/.exec(head)
  if (match === null) throw notAPicture()
  const [width, height] = [Number(match[1]), Number(match[2])]
  if (width === 0 || height === 0) throw notAPicture()
  return { width, height, offset: match[0].length }
}

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data])
  const framed = Buffer.alloc(body.length + 8)
  framed.writeUInt32BE(data.length, 0)
  framed.set(body, 4)
  framed.writeUInt32BE(crc32(body), body.length + 4)
  return framed
}

function notAPicture(): HoldfastError {
  return new HoldfastError('hypervisor-error', 'QEMU gave no picture of the screen')
}
