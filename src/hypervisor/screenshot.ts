import { join } from 'node:path'
import { HoldfastError } from '../base/errors.ts'
import type { Files } from '../base/files.ts'
import type { Random } from '../base/random.ts'
import { MiB } from '../base/units.ts'
import { ppmToPng } from './png.ts'
import type { Qmp } from './qmp.ts'

/** A screen of 4096 by 4096 as PPM, and then some. */
const largestBytes = 64 * MiB

/** The guest's screen as PNG. Rejects with `hypervisor-error` when the machine has none. */
export async function screenshot(
  qmp: Qmp,
  deps: { files: Files; random: Random },
  folder: string,
): Promise<Uint8Array> {
  const path = join(folder, `screen-${deps.random.uuid()}.ppm`)
  try {
    await qmp.execute('screendump', { filename: path })
    // QEMU may write here, so the name could lead anywhere by now: no links are followed.
    await using file = await deps.files.open(path, 'read-untrusted')
    const data = await file.read(0, largestBytes)
    if (data.length === largestBytes)
      throw new HoldfastError('hypervisor-error', 'the screen is larger than any screen')
    return ppmToPng(data)
  } finally {
    await deps.files.remove(path)
  }
}
