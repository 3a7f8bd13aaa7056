/**
 * The right to post-copy: the target's QEMU handles the faults of its own memory through a userfaultfd, which the kernel
 * gives to root alone. QEMU 8.1 and newer open /dev/userfaultfd for it, as soon as they are told to listen, and keep it.
 * So each VM's own user may open that device for just as long, by an entry in its access list, and nobody else ever.
 */
import { HoldfastError } from '../../base/errors.ts'
import type { Files } from '../../base/files.ts'
import type { Processes } from '../../base/processes.ts'

const device = '/dev/userfaultfd'
const allowance = '/proc/sys/vm/unprivileged_userfaultfd'
const setfacl = 'setfacl'

export interface PostCopyRightDeps {
  readonly files: Files
  readonly processes: Processes
}

/** Why no guest can come to this host by post-copy; null: it can. `qemu` is a version, 10.0.2. */
export async function postCopyObstacle(deps: PostCopyRightDeps, qemu: string): Promise<string | null> {
  if (await isFreeForAll(deps.files)) return null
  const [major = 0, minor = 0] = qemu.split('.').map(Number)
  if (major < 8 || (major === 8 && minor < 1)) {
    return `QEMU ${qemu} runs without privileges, and only 8.1 or newer can do post-copy so (vm.unprivileged_userfaultfd is 0)`
  }
  if ((await deps.files.stat(device)) === undefined) return `its kernel has no ${device} (Linux 6.1 or newer has)`
  const isThere = await deps.processes.run(setfacl, ['--version']).then(
    ({ code }) => code === 0,
    () => false,
  )
  return isThere ? null : `the program setfacl is missing there (Debian's package acl)`
}

async function isFreeForAll(files: Files): Promise<boolean> {
  const text = await files.readText(allowance).catch(() => '0')
  return text.trim() === '1'
}

/** Runs `work` while this user may open the device. Rejects with `host-error` when the right cannot be given. */
export async function withPostCopyRight<T>(deps: PostCopyRightDeps, uid: number, work: () => Promise<T>): Promise<T> {
  if (await isFreeForAll(deps.files)) return await work()
  const { code, stderr } = await deps.processes.run(setfacl, ['-m', `u:${uid}:rw`, device])
  if (code !== 0) throw new HoldfastError('host-error', `post-copy cannot be permitted: ${stderr.trim()}`)
  try {
    return await work()
  } finally {
    await endPostCopyRight(deps, uid)
  }
}

/** Also for what an agent that was killed in between has left. Never rejects. */
export async function endPostCopyRight({ processes }: PostCopyRightDeps, uid: number): Promise<void> {
  await processes.run(setfacl, ['-x', `u:${uid}`, device]).catch(() => undefined)
}
