/**
 * The guest's virtual clock in a saved state: how far it has come, and moving it on. HPET, ACPI timer, PIT, APIC and (under
 * TCG) TSC go by it. A clock that was moved on is to the guest what a host that did not run QEMU for a while is.
 *
 * The form is QEMU's section `timer` (system/cpu-timers.c, version 2): ticks of the TSC, eight unused bytes, nanoseconds.
 */

const fullSection = 4
const footer = 0x7e
const name = Buffer.from('\x05timer')
const version = 2
/** After the name: u32 instance, u32 version. */
const headBytes = 8
const bodyBytes = 24

/** Of QEMU's virtual clock: ticks of the TSC, and nanoseconds since the machine was made. */
export interface ClockReading {
  readonly ticks: bigint
  readonly ns: bigint
}

interface TimerSection extends ClockReading {
  readonly view: DataView
}

/** Undefined where the state has none, or in another form. */
export function clockReading(devices: Uint8Array): ClockReading | undefined {
  return timerSection(devices)
}

/** The same clock, a while later. Both began together, so their ratio is the frequency. */
export function readingMovedOn({ ticks, ns }: ClockReading, ms: number): ClockReading {
  const more = BigInt(Math.round(ms * 1e6))
  return { ticks: ticks + (ticks * more) / ns, ns: ns + more }
}

/** Milliseconds since the machine was made; undefined where the state has none, or in another form. */
export function virtualClockMs(devices: Uint8Array): number | undefined {
  const found = timerSection(devices)
  return found === undefined ? undefined : Number(found.ns / 1000n) / 1000
}

/** The same state, a while later. Undefined where its clock is not known. */
export function movedOn(devices: Uint8Array, ms: number): Uint8Array | undefined {
  const copy = new Uint8Array(devices)
  const found = timerSection(copy)
  if (found === undefined || found.ns <= 0n) return undefined
  const { ticks, ns } = readingMovedOn(found, ms)
  found.view.setBigInt64(0, ticks)
  found.view.setBigInt64(16, ns)
  return copy
}

function timerSection(devices: Uint8Array): TimerSection | undefined {
  const bytes = Buffer.from(devices.buffer, devices.byteOffset, devices.byteLength)
  for (let at = bytes.indexOf(name); at >= 0; at = bytes.indexOf(name, at + 1)) {
    const head = at + name.length
    const body = head + headBytes
    const end = body + bodyBytes
    if (at < 5 || end + 5 > bytes.length || bytes[at - 5] !== fullSection) continue
    const isTimer = bytes.readUInt32BE(head) === 0 && bytes.readUInt32BE(head + 4) === version
    const isWhole = bytes[end] === footer && bytes.readUInt32BE(end + 1) === bytes.readUInt32BE(at - 4)
    if (!isTimer || !isWhole) continue
    const view = new DataView(devices.buffer, devices.byteOffset + body, bodyBytes)
    return { view, ticks: view.getBigInt64(0), ns: view.getBigInt64(16) }
  }
  return undefined
}
