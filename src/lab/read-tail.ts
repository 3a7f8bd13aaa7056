import type { LabPorts } from './ports.ts'

/** The last lines of a log, for an error that people read; empty when there is none. */
export async function readTail(ports: Pick<LabPorts, 'files'>, path: string, lines = 12): Promise<string> {
  const text = await ports.files.readText(path).catch(() => '')
  return text.trimEnd().split('\n').slice(-lines).join('\n')
}
