/** One agent on one data folder. The lock names a process by pid and start time, so one that died holds nothing. */
import { join } from 'node:path'
import { HoldfastError } from '../base/errors.ts'
import { fileErrorCode, type Files } from '../base/files.ts'
import type { ProcessId, Processes } from '../base/processes.ts'

export async function lockData(
  ports: { files: Files; processes: Processes },
  dataDirectory: string,
  pid: number,
): Promise<AsyncDisposable> {
  const { files, processes } = ports
  const path = join(dataDirectory, 'agent.lock')
  const me = await processes.identify(pid)
  if (me === undefined) throw new HoldfastError('internal', 'this process cannot be found in /proc')
  for (let attempt = 0; attempt < 3; attempt++) {
    try {
      await using file = await files.open(path, 'create-new')
      await file.write(0, Buffer.from(JSON.stringify(me)))
      return { [Symbol.asyncDispose]: () => files.remove(path) }
    } catch (thrown) {
      if (fileErrorCode(thrown) !== 'EEXIST') throw thrown
    }
    const holder = await readHolder(files, path)
    if (holder !== undefined && (await processes.isAlive(holder))) {
      throw new HoldfastError('wrong-state', `an agent (pid ${holder.pid}) works on ${dataDirectory} already`, {
        mend: 'Stop it first, or give this one a data folder of its own.',
      })
    }
    await files.remove(path)
  }
  throw new HoldfastError('wrong-state', `${path} cannot be taken`)
}

/** Undefined for a lock that its holder died before writing. */
async function readHolder(files: Files, path: string): Promise<ProcessId | undefined> {
  try {
    return JSON.parse(await files.readText(path)) as ProcessId
  } catch {
    return undefined
  }
}
