import type { Random } from '../base/random.ts'
import { cdromNode } from './command-line.ts'
import type { Qmp } from './qmp.ts'

/** Takes out what is in the drive, even if the guest has locked it, and puts another disc in, or none. */
export async function changeMedium(
  qmp: Qmp,
  random: Random,
  key: number,
  image: { path: string; format: 'raw' | 'qcow2' } | null,
): Promise<void> {
  interface BlockDevice {
    readonly qdev?: string
    readonly inserted?: { readonly 'node-name'?: string }
  }
  const id = `cdrom-${key}`
  const devices = await qmp.execute<readonly BlockDevice[]>('query-block')
  const before = devices.find(({ qdev }) => qdev === id)?.inserted?.['node-name']
  await qmp.execute('blockdev-open-tray', { id, force: true })
  await qmp.execute('blockdev-remove-medium', { id })
  if (before !== undefined) await qmp.execute('blockdev-del', { 'node-name': before })
  if (image !== null) {
    // A name of its own: one that was used before could still be in use by a drive that did not let go.
    const node = `${id}-${random.int(2 ** 31)}`
    await qmp.execute('blockdev-add', cdromNode(node, image.path, image.format))
    await qmp.execute('blockdev-insert-medium', { id, 'node-name': node })
  }
  await qmp.execute('blockdev-close-tray', { id })
}
