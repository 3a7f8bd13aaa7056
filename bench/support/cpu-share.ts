/**
 * Gives all that the bench starts, contenders alike, a large share of the CPU against whatever else the machine does: a
 * group of the cpu controller that this process enters, and with it everything it starts from now on. Where there is no
 * such controller (cgroup v1) nothing is done.
 */
import { existsSync } from 'node:fs'
import { mkdir, rmdir, writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'

const root = '/sys/fs/cgroup/cpu'
/** 1024 is what every other group has. */
const shares = 262_144

export async function largeCpuShare(name: string): Promise<AsyncDisposable> {
  const path = `${root}/holdfast-${name}`
  if (!existsSync(`${root}/cpu.shares`)) return { [Symbol.asyncDispose]: () => Promise.resolve() }
  await mkdir(path, { recursive: true })
  await writeFile(`${path}/cpu.shares`, String(shares))
  await writeFile(`${path}/cgroup.procs`, String(process.pid))
  return {
    [Symbol.asyncDispose]: async () => {
      await writeFile(`${root}/cgroup.procs`, String(process.pid))
      // What was started is gone by now, or about to be reaped.
      for (let tries = 0; tries < 100; tries++) {
        const isGone = await rmdir(path).then(
          () => true,
          () => false,
        )
        if (isGone) return
        await sleep(100)
      }
    },
  }
}
