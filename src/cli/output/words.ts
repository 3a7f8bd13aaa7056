/** How times, ages, rates and shares are said to people. */
import { formatSize } from '../../base/units.ts'

/** A length of time: `45 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h`. */
export function durationWords(milliseconds: number): string {
  const seconds = Math.max(0, milliseconds) / 1000
  if (seconds < 10) return `${seconds.toFixed(1)} s`
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  const minutes = Math.floor(whole / 60)
  if (minutes < 60) return whole % 60 === 0 ? `${minutes} min` : `${minutes} min ${whole % 60} s`
  const hours = Math.floor(minutes / 60)
  if (hours < 48) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`
  return hours % 24 === 0 ? `${Math.floor(hours / 24)} d` : `${Math.floor(hours / 24)} d ${hours % 24} h`
}

/** How long ago an instant was: `12 s ago`; `-` for none. */
export function ageWords(iso: string | null | undefined, nowMs: number): string {
  if (iso === null || iso === undefined) return '-'
  return `${durationWords(Math.max(0, nowMs - Date.parse(iso))).replace(/\.\d s$/, ' s')} ago`
}

/** Bytes per second in decimal megabytes, as network people count them. */
export function rateWords(bytesPerSecond: number): string {
  const megabytes = bytesPerSecond / 1e6
  return `${megabytes >= 100 ? megabytes.toFixed(0) : megabytes.toFixed(1)} MB/s`
}

/** Memory, which is counted in MiB everywhere: `512 MiB`, `1.5 GiB`. */
export function memoryWords(mebibytes: number): string {
  return formatSize(mebibytes * 1024 * 1024)
}

export function percentWords(share: number): string {
  return `${Math.floor(Math.min(1, Math.max(0, share)) * 100)} %`
}

/** An optional number of bytes: `-` where it is not known. */
export function sizeOrDash(bytes: number | null | undefined): string {
  return bytes === null || bytes === undefined ? '-' : formatSize(bytes)
}

export function orDash(text: string | null | undefined): string {
  return text === null || text === undefined || text === '' ? '-' : text
}

/** `1 VM`, `3 VMs`. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`
}
