/** Sizes. Names carry units everywhere (`memoryMiB`, `sizeBytes`, `timeoutMs`); these are for converting and reading. */
export const KiB = 1024
export const MiB = 1024 * KiB
export const GiB = 1024 * MiB
export const TiB = 1024 * GiB

const suffixes: Record<string, number> = {
  '': 1,
  B: 1,
  K: KiB,
  KIB: KiB,
  KB: 1000,
  M: MiB,
  MIB: MiB,
  MB: 1000 ** 2,
  G: GiB,
  GIB: GiB,
  GB: 1000 ** 3,
  T: TiB,
  TIB: TiB,
  TB: 1000 ** 4,
}

/** Reads a size as people write it (`512M`, `1.5GiB`, `10 GB`); bytes, or undefined where it is not one. */
export function parseSize(text: string): number | undefined {
  const match = /^\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)\s*$/.exec(text)
  if (match === null) return undefined
  const factor = suffixes[(match[2] ?? '').toUpperCase()]
  const bytes = factor === undefined ? Number.NaN : Math.round(Number(match[1]) * factor)
  return Number.isSafeInteger(bytes) ? bytes : undefined
}

/** Writes bytes as people read them: `1.5 GiB`. */
export function formatSize(bytes: number): string {
  const units: [number, string][] = [
    [TiB, 'TiB'],
    [GiB, 'GiB'],
    [MiB, 'MiB'],
    [KiB, 'KiB'],
  ]
  for (const [size, name] of units) {
    if (Math.abs(bytes) >= size) return `${(bytes / size).toFixed(bytes % size === 0 ? 0 : 1)} ${name}`
  }
  return `${bytes} B`
}
