/** Figures and states in words. */

export function memory(mebibytes: number): string {
  if (mebibytes < 1024) return `${Math.round(mebibytes)} MiB`
  return `${(mebibytes / 1024).toFixed(mebibytes % 1024 === 0 ? 0 : 1)} GiB`
}

export function bytes(count: number): string {
  if (count < 1024 * 1024) return `${Math.round(count / 1024)} KiB`
  return memory(count / 1024 / 1024)
}

export function percent(fraction: number): string {
  return `${Math.round(fraction * 100)} %`
}

export function ago(time: string): string {
  const seconds = Math.max(0, Math.round((Date.now() - Date.parse(time)) / 1000))
  if (seconds < 5) return 'just now'
  if (seconds < 90) return `${seconds} s ago`
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min ago`
  return new Date(time).toLocaleString()
}

/** How a task's long step goes: `12.3 MiB/s, dirties 2 MiB/s, 4 s left`. */
export function pace(detail: Readonly<Record<string, unknown>> | null): string {
  if (detail === null) return ''
  const number = (name: string): number => (typeof detail[name] === 'number' ? detail[name] : 0)
  const parts: string[] = []
  if (typeof detail['waitingFor'] === 'string') parts.push(`waits: ${detail['waitingFor']}`)
  if (number('bytesPerSecond') > 0) parts.push(`${bytes(number('bytesPerSecond'))}/s`)
  if (number('dirtyBytesPerSecond') > 0) parts.push(`guest changes ${bytes(number('dirtyBytesPerSecond'))}/s`)
  if (typeof detail['remainingSeconds'] === 'number') parts.push(`${Math.ceil(detail['remainingSeconds'])} s left`)
  return parts.join(', ')
}
