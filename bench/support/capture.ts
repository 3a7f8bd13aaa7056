/** What a guest sends, with the kernel's own time stamps: tcpdump on one interface, and its file read back. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFile, rm } from 'node:fs/promises'

export interface Frame {
  /** Milliseconds since the epoch, of the machine's clock, as QEMU's events have. */
  readonly at: number
  readonly kind: 'tcp-data' | 'ping-reply' | 'announcement' | 'other'
  /** Of TCP: the first byte's number and how many there are. */
  readonly seq: number
  readonly length: number
}

export class Capture {
  readonly #child: ChildProcess
  readonly #file: string

  private constructor(child: ChildProcess, file: string) {
    this.#child = child
    this.#file = file
  }

  /** `prefix` is a command line that enters the namespace of the interface. */
  static async start(prefix: readonly string[], device: string, mac: string, file: string): Promise<Capture> {
    const own = ['tcpdump', '-i', device, '-n', '-s', '128', '-U', '--immediate-mode', '-Z', 'root', '-w', file]
    const argv: readonly string[] = [...prefix, ...own, 'ether', 'src', mac]
    const [command = '', ...args] = argv
    const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] })
    let said = ''
    await new Promise<void>((resolve, reject) => {
      child.once('error', reject)
      child.once('exit', () => reject(new Error(`tcpdump on ${device}: ${said}`)))
      child.stderr.on('data', (data: Buffer) => {
        said += data.toString()
        if (said.includes('listening on')) resolve()
      })
    })
    return new Capture(child, file)
  }

  /** Ends it and reads what it saw; the file is removed. */
  async stop(): Promise<Frame[]> {
    const ended = once(this.#child, 'exit')
    this.#child.kill('SIGINT')
    await ended
    const data = await readFile(this.#file)
    await rm(this.#file)
    return framesOf(data)
  }
}

/** The frames of a pcap file of Ethernet. */
export function framesOf(data: Buffer): Frame[] {
  const magic = data.readUInt32LE(0)
  if (magic !== 0xa1b2c3d4 && magic !== 0xa1b23c4d) throw new Error('this is no pcap file of this machine')
  const perMs = magic === 0xa1b2c3d4 ? 1000 : 1_000_000
  const frames: Frame[] = []
  for (let at = 24; at + 16 <= data.length;) {
    const kept = data.readUInt32LE(at + 8)
    const time = data.readUInt32LE(at) * 1000 + data.readUInt32LE(at + 4) / perMs
    frames.push({ at: time, ...contentOf(data.subarray(at + 16, at + 16 + kept)) })
    at += 16 + kept
  }
  return frames
}

const other = { kind: 'other', seq: 0, length: 0 } as const
const tickPort = 7001

function contentOf(frame: Buffer): Omit<Frame, 'at'> {
  if (frame.length < 34) return other
  const type = frame.readUInt16BE(12)
  if (type === 0x8035) return { ...other, kind: 'announcement' }
  if (type !== 0x0800) return other
  const ip = frame.subarray(14)
  const headerBytes = ((ip[0] ?? 0) & 15) * 4
  const protocol = ip[9]
  const inner = ip.subarray(headerBytes)
  if (protocol === 1) return inner[0] === 0 ? { ...other, kind: 'ping-reply' } : other
  if (protocol !== 6 || inner.length < 20 || inner.readUInt16BE(0) !== tickPort) return other
  const length = ip.readUInt16BE(2) - headerBytes - ((inner[12] ?? 0) >> 4) * 4
  return length > 0 ? { kind: 'tcp-data', seq: inner.readUInt32BE(4), length } : other
}

export interface Silence {
  readonly ms: number
  /** When it began. */
  readonly from: number
}

/** When the stream's bytes could be read by a client, in order: a later byte waits for an earlier one that was lost. */
export function deliveries(frames: readonly Frame[]): number[] {
  const times: number[] = []
  const early = new Map<number, number>()
  let next: number | undefined
  for (const { kind, at, seq, length } of frames) {
    if (kind !== 'tcp-data') continue
    next ??= seq
    // Numbers wrap at 2^32: what is "before" is decided by the signed difference.
    if (((seq - next) | 0) > 0) early.set(seq, length)
    const isNew = ((seq - next) | 0) <= 0 && ((seq + length - next) | 0) > 0
    if (!isNew) continue
    next = (seq + length) >>> 0
    for (let more = early.get(next); more !== undefined; more = early.get(next)) {
      early.delete(next)
      next = (next + more) >>> 0
    }
    times.push(at)
  }
  return times
}

export function pingReplies(frames: readonly Frame[]): number[] {
  return frames.filter(({ kind }) => kind === 'ping-reply').map(({ at }) => at)
}

/** The longest time between two neighbours. */
export function longestSilence(times: readonly number[]): Silence {
  let longest = { ms: 0, from: times[0] ?? Number.NaN }
  for (const [at, time] of times.entries()) {
    const before = times[at - 1]
    if (before !== undefined && time - before > longest.ms) longest = { ms: time - before, from: before }
  }
  return longest
}
