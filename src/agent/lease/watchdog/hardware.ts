/** What resets the machine when it is not petted: /dev/watchdog, or a socket that a lab serves in its place. */
import type { Duplex } from 'node:stream'
import type { Clock } from '../../../base/clock.ts'
import { HoldfastError } from '../../../base/errors.ts'
import type { Files } from '../../../base/files.ts'
import type { Network } from '../../../base/network.ts'

export interface Hardware {
  readonly termMs: number
  /** The machine lives on for another term. Rejects when the device does not take it. */
  pet(): Promise<void>
  /** It resets nothing any more. */
  disarm(): Promise<void>
}

/** Opens a watchdog device and arms it; the machine is reset when it is not petted in time. */
export type OpenDevice = (path: string, termSeconds: number) => Hardware

export interface HardwarePorts {
  readonly clock: Clock
  readonly files: Files
  readonly network: Pick<Network, 'connectUnix'>
  readonly openDevice: OpenDevice
}

/** Devices count in whole seconds, and some take no less than this. */
const deviceSeconds = 5
const socketTermMs = 2000
const answerMs = 1000

/** Arms what is at `path`. Throws `host-error` when that is no watchdog, or another program holds it. */
export async function armHardware(ports: HardwarePorts, path: string): Promise<Hardware> {
  const stat = await ports.files.stat(path)
  if (stat === undefined) throw new HoldfastError('host-error', `there is no ${path}`)
  if (stat.kind !== 'socket') return ports.openDevice(path, deviceSeconds)
  const ask = (message: Record<string, unknown>): Promise<void> => askSocket(ports, path, message)
  await ask({ verb: 'arm', termMs: socketTermMs })
  return { termMs: socketTermMs, pet: () => ask({ verb: 'pet' }), disarm: () => ask({ verb: 'disarm' }) }
}

/** One JSON object a line, and one back. */
async function askSocket({ clock, network }: HardwarePorts, path: string, message: object): Promise<void> {
  const stream = await network.connectUnix(path)
  try {
    const answer = answerOf(stream)
    stream.write(`${JSON.stringify(message)}\n`)
    const late = Promise.withResolvers<never>()
    using _timer = clock.timer(answerMs, () => late.reject(new HoldfastError('timeout', `${path} does not answer`)))
    const reply = await Promise.race([answer, late.promise])
    if (reply.includes('"error"')) throw new HoldfastError('host-error', `${path} says: ${reply}`)
  } finally {
    stream.destroy()
  }
}

function answerOf(stream: Duplex): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    stream.on('data', (chunk: Buffer) => {
      text += chunk.toString('utf8')
      if (text.includes('\n')) resolve(text)
    })
    stream.once('error', reject)
    stream.once('close', () => reject(new HoldfastError('unreachable', 'the watchdog has closed the connection')))
  })
}
