/** What is left of a disk's move when whoever drove it died: ends it, and says which file counts for the guest now. */
import type { Clock } from '../base/clock.ts'
import { HoldfastError } from '../base/errors.ts'
import { diskNode } from './command-line.ts'
import { nodeOfDevice } from './disk-mirror.ts'
import type { Qmp } from './qmp.ts'

const pollMs = 20
/** A job that was told to end does so within its last write. */
const patienceMs = 30_000

interface BlockNode {
  readonly 'node-name'?: string
  readonly file: string
}

/** The path of the file that the guest's disk is on. The guest may stand paused where the switch was cut short. */
export async function settleDiskMove(qmp: Qmp, clock: Clock, key: number): Promise<string> {
  const job = `move-${key}`
  for (const until = clock.monotonic() + patienceMs; await hasJob(qmp, job);) {
    if (clock.monotonic() > until) throw new HoldfastError('timeout', `the copy of disk ${key} does not end`)
    // One that is switching over already refuses; it ends by itself.
    await qmp.execute('block-job-cancel', { device: job, force: true }).catch(() => undefined)
    await clock.sleep(pollMs)
  }
  const current = await nodeOfDevice(qmp, diskNode(key))
  const nodes = await qmp.execute<readonly BlockNode[]>('query-named-block-nodes', { flat: true })
  for (const { 'node-name': name = '' } of nodes) {
    const isOfDisk = name === diskNode(key) || name.startsWith(`${diskNode(key)}-moved-`)
    if (isOfDisk && name !== current) await qmp.execute('blockdev-del', { 'node-name': name }).catch(() => undefined)
  }
  const found = nodes.find((node) => node['node-name'] === current)
  if (found !== undefined) return found.file
  throw new HoldfastError('hypervisor-error', `QEMU does not say where disk ${key} is`)
}

async function hasJob(qmp: Qmp, job: string): Promise<boolean> {
  const jobs = await qmp.execute<readonly { device: string }[]>('query-block-jobs')
  return jobs.some(({ device }) => device === job)
}
