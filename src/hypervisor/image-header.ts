/**
 * What an image file says of itself in its header, read by ourselves: a hostile image may name any file of the host
 * (backing file, external data file, extents), and nothing that would open it may run before we have looked. Pure.
 */
export const imageFormats = ['raw', 'qcow2', 'vmdk', 'vdi', 'vpc', 'vhdx'] as const
export type ImageFormat = (typeof imageFormats)[number]

/** As much of the beginning as `readHeader` looks at. */
export const headerBytes = 64 * 1024
/** A fixed VHD has its footer at the end. */
export const footerBytes = 512

export interface ImageHeader {
  readonly format: ImageFormat
  /** Name of the file below, as the header has it. */
  readonly backingFile: string | null
  /** The image is only whole together with files that it names. */
  readonly hasOutsideReference: boolean
  readonly isEncrypted: boolean
}

const alone = { backingFile: null, hasOutsideReference: false, isEncrypted: false } as const

/** The format by content; what is none of the others is raw. */
export function formatByContent(head: Buffer, tail: Buffer): ImageFormat {
  if (head.subarray(0, 4).toString('latin1') === 'QFI\xfb') return 'qcow2'
  if (head.subarray(0, 4).toString('latin1') === 'KDMV' || isVmdkDescriptor(head)) return 'vmdk'
  if (head.length >= 0x44 && head.readUInt32LE(0x40) === 0xbeda107f) return 'vdi'
  if (head.subarray(0, 8).toString('latin1') === 'vhdxfile') return 'vhdx'
  if (isVhdFooter(head) || isVhdFooter(tail)) return 'vpc'
  return 'raw'
}

/** Undefined when the content is not of this format. */
export function readHeader(format: ImageFormat, head: Buffer, tail: Buffer): ImageHeader | undefined {
  if (format === 'raw') return { format, ...alone }
  if (formatByContent(head, tail) !== format) return undefined
  switch (format) {
    case 'qcow2':
      return qcow2(head)
    case 'vmdk':
      return vmdk(head)
    case 'vpc':
      return vpc(head, tail)
    case 'vdi':
      return vdi(head)
    case 'vhdx':
      // QEMU's driver opens nothing else, and refuses an image with a parent itself.
      return { format, ...alone }
  }
}

const incompatibleDataFile = 1n << 2n

function qcow2(head: Buffer): ImageHeader | undefined {
  if (head.length < 72) return undefined
  const version = head.readUInt32BE(4)
  if (version !== 2 && version !== 3) return undefined
  const backingOffset = Number(head.readBigUInt64BE(8))
  const backingLength = head.readUInt32BE(16)
  const backingFile =
    backingOffset === 0
      ? null
      : head.subarray(backingOffset, backingOffset + Math.min(backingLength, 1023)).toString('utf8')
  const hasDataFile = version === 3 && (head.length < 80 || (head.readBigUInt64BE(72) & incompatibleDataFile) !== 0n)
  return {
    format: 'qcow2',
    backingFile,
    hasOutsideReference: hasDataFile || backingFile !== null,
    isEncrypted: head.readUInt32BE(32) !== 0,
  }
}

function isVmdkDescriptor(head: Buffer): boolean {
  return head.subarray(0, 1024).toString('latin1').trimStart().startsWith('# Disk DescriptorFile')
}

/** Only an image of one file, with its description inside, stands alone. */
function vmdk(head: Buffer): ImageHeader | undefined {
  const outside: ImageHeader = { format: 'vmdk', backingFile: null, hasOutsideReference: true, isEncrypted: false }
  if (isVmdkDescriptor(head)) return outside
  if (head.length < 512) return undefined
  const capacity = head.readBigUInt64LE(12)
  const descriptorOffset = Number(head.readBigUInt64LE(28)) * 512
  const descriptorLength = Number(head.readBigUInt64LE(36)) * 512
  // With no capacity QEMU takes the description for that of another image, whose extents can be any file.
  if (capacity === 0n) return outside
  if (descriptorOffset === 0) return { format: 'vmdk', ...alone }
  if (descriptorOffset + 20 > head.length) return outside
  const description = head.subarray(descriptorOffset, descriptorOffset + descriptorLength).toString('latin1')
  const parent = /parentFileNameHint\s*=\s*"([^"]*)"/.exec(description)?.[1] ?? null
  const isChild = !/parentCID\s*=\s*ffffffff/i.test(description) || parent !== null
  const isOneFile = /createType\s*=\s*"(?:monolithicSparse|streamOptimized)"/.test(description)
  return { format: 'vmdk', backingFile: parent, hasOutsideReference: isChild || !isOneFile, isEncrypted: false }
}

function isVhdFooter(bytes: Buffer): boolean {
  return bytes.subarray(0, 8).toString('latin1') === 'conectix'
}

const vhdDifferencing = 4

function vpc(head: Buffer, tail: Buffer): ImageHeader | undefined {
  const footer = isVhdFooter(head) ? head : tail
  if (footer.length < 64) return undefined
  return { format: 'vpc', ...alone, hasOutsideReference: footer.readUInt32BE(60) === vhdDifferencing }
}

const vdiDifferencing = 4

function vdi(head: Buffer): ImageHeader | undefined {
  if (head.length < 0x50) return undefined
  return { format: 'vdi', ...alone, hasOutsideReference: head.readUInt32LE(0x4c) === vdiDifferencing }
}
