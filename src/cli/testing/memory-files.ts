/** Files in memory, as far as the command line needs them. */
import type { Files } from '../../base/files.ts'

function missing(path: string): Error {
  return Object.assign(new Error(`ENOENT: ${path}`), { code: 'ENOENT' })
}

export function memoryFiles(
  contents: Record<string, string | Uint8Array> = {},
): Files & { modes: Map<string, number> } {
  const files = new Map(Object.entries(contents).map(([path, data]) => [path, Buffer.from(data)]))
  const modes = new Map<string, number>()
  const read = (path: string): Buffer => {
    const data = files.get(path)
    if (data === undefined) throw missing(path)
    return data
  }
  const write: Files['write'] = async (path, data, options) => {
    files.set(path, Buffer.from(data))
    modes.set(path, options?.mode ?? 0o644)
  }
  const refuse = async (): Promise<never> => {
    throw new Error('the command line does not do that')
  }
  return {
    modes,
    read: async (path) => read(path),
    readText: async (path) => read(path).toString('utf8'),
    replace: write,
    write,
    async open(path) {
      const data = read(path)
      return {
        read: async (offset, length) => data.subarray(offset, offset + length),
        write: refuse,
        writeParts: refuse,
        truncate: refuse,
        sync: refuse,
        [Symbol.asyncDispose]: async () => undefined,
      }
    },
    async stat(path) {
      const data = files.get(path)
      if (data === undefined) return undefined
      return { kind: 'file', sizeBytes: data.length, mtimeMs: 1, allocatedBytes: data.length }
    },
    list: async (path) => [...files.keys()].filter((name) => name.startsWith(`${path}/`)),
    makeDirectory: async () => undefined,
    rename: refuse,
    remove: async (path) => void files.delete(path),
    changeOwner: refuse,
    changeMode: refuse,
    realPath: async (path) => path,
    space: refuse,
  } satisfies Files & { modes: Map<string, number> }
}
