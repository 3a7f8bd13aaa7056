import { readFileSync } from 'node:fs'
import type { Clock } from '../clock.ts'
import { libc } from './libc.ts'

const clockBoottime = 7
/** Node fires a longer timer at once. */
const longestTimerMs = 2 ** 31 - 1

/**
 * The real clock. `monotonic` is CLOCK_BOOTTIME; where the C library cannot be called, /proc/uptime in steps of 10 ms.
 * Timers count by CLOCK_MONOTONIC: after a suspend they fire late, so whoever holds a lease compares `monotonic` too.
 */
export function nodeClock(): Clock {
  const monotonic = monotonicReader()
  return {
    now: () => Date.now(),
    monotonic,
    sleep,
    timer(ms, callback) {
      return startTimer(ms, callback)
    },
  }
}

function monotonicReader(): () => number {
  try {
    libc().clockNanoseconds(clockBoottime)
    return () => Number(libc().clockNanoseconds(clockBoottime)) / 1e6
  } catch {
    return () => Number.parseFloat(readFileSync('/proc/uptime', 'utf8')) * 1000
  }
}

function startTimer(ms: number, callback: () => void): Disposable {
  let left = Math.max(0, ms)
  let handle: NodeJS.Timeout
  const arm = (): void => {
    const part = Math.min(left, longestTimerMs)
    left -= part
    handle = setTimeout(() => (left > 0 ? arm() : callback()), part)
    handle.unref()
  }
  arm()
  return { [Symbol.dispose]: () => clearTimeout(handle) }
}

/** Unlike a timer, a sleep that somebody waits for keeps the process alive. */
function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const reason = (): Error => {
      const why: unknown = signal?.reason
      return why instanceof Error ? why : new Error(String(why))
    }
    if (signal?.aborted === true) return reject(reason())
    // A timer takes a millisecond at the least.
    if (ms <= 0) {
      setImmediate(resolve)
      return
    }
    const onAbort = (): void => {
      clearTimeout(handle)
      reject(reason())
    }
    const handle = setTimeout(
      () => {
        signal?.removeEventListener('abort', onAbort)
        resolve()
      },
      Math.min(Math.max(0, ms), longestTimerMs),
    )
    signal?.addEventListener('abort', onAbort, { once: true })
  })
}
