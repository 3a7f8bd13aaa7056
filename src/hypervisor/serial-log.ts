/**
 * QEMU appends all that the guest says on its serial line to a file, also while nobody listens. A guest must not fill the
 * host's disk by talking, so the file is cut to nothing whenever it has grown long. QEMU appends, so it goes on at the
 * new end.
 */
import type { Clock } from '../base/clock.ts'
import type { Files } from '../base/files.ts'
import { MiB } from '../base/units.ts'

const longestBytes = 4 * MiB
const everyMs = 5000

export function keepSerialLogShort(deps: { clock: Clock; files: Files }, path: string): Disposable {
  let timer: Disposable | undefined
  let isDone = false
  const look = async (): Promise<void> => {
    const stat = await deps.files.stat(path)
    if (stat?.kind === 'file' && stat.sizeBytes > longestBytes) {
      await using file = await deps.files.open(path, 'read-write')
      await file.truncate(0)
    }
  }
  const arm = (): void => {
    if (isDone) return
    timer = deps.clock.timer(
      everyMs,
      () =>
        void look()
          .catch(() => undefined)
          .then(arm),
    )
  }
  arm()
  return {
    [Symbol.dispose]: () => {
      isDone = true
      timer?.[Symbol.dispose]()
    },
  }
}

/** The end of the log. QEMU may write here, so the name could lead anywhere by now: no links are followed. */
export async function serialTail(files: Files, path: string, mostBytes: number): Promise<Uint8Array> {
  const stat = await files.stat(path)
  if (stat === undefined) return new Uint8Array()
  await using file = await files.open(path, 'read-untrusted')
  return await file.read(Math.max(0, stat.sizeBytes - mostBytes), mostBytes)
}
