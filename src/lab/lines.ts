/** One JSON object a line over a unix socket, a line back for each: how the lab's own programs are spoken to. */
import { createServer, type Server, type Socket } from 'node:net'
import { HoldfastError, toHoldfastError, isErrorCode } from '../base/errors.ts'
import type { LabPorts } from './ports.ts'

export type Message = Record<string, unknown>

/** The kernel's limit for a socket's path, less the final NUL. */
const longestPath = 107

/** Answers each line by `handle`, in order per connection; a thrown error becomes `{error, message}`. */
export async function serveLines(
  ports: Pick<LabPorts, 'files'>,
  path: string,
  handle: (message: Message) => Promise<Message>,
): Promise<AsyncDisposable> {
  if (Buffer.byteLength(path) > longestPath) {
    throw new HoldfastError('invalid-request', `${path} is too long for a socket`, {
      mend: 'Keep the lab in a folder with a shorter path (--directory).',
    })
  }
  // What a program that was killed has left; two never serve one lab, since both are started under its lock.
  await ports.files.remove(path)
  const open = new Set<Socket>()
  const server: Server = createServer((socket) => {
    open.add(socket)
    socket.on('close', () => open.delete(socket))
    socket.on('error', () => socket.destroy())
    let turn = Promise.resolve()
    onLines(socket, (line) => {
      turn = turn.then(async () => {
        const reply = await answer(line, handle)
        if (socket.writable) socket.write(`${JSON.stringify(reply)}\n`)
      })
    })
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, resolve)
  })
  await ports.files.changeMode(path, 0o600)
  return {
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

async function answer(line: string, handle: (message: Message) => Promise<Message>): Promise<Message> {
  try {
    return await handle(JSON.parse(line) as Message)
  } catch (thrown) {
    const error = toHoldfastError(thrown)
    return { error: error.code, message: error.message, mend: error.details.mend }
  }
}

function onLines(socket: NodeJS.ReadableStream, take: (line: string) => void): void {
  let rest = ''
  socket.on('data', (chunk: Buffer) => {
    const lines = (rest + chunk.toString('utf8')).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) if (line !== '') take(line)
  })
}

/** One question, one answer. Throws `unreachable` when nobody listens, and what the other side has thrown. */
export async function askLine(
  ports: Pick<LabPorts, 'network' | 'clock'>,
  path: string,
  message: Message,
  timeoutMs = 30_000,
): Promise<Message> {
  const stream = await ports.network.connectUnix(path)
  try {
    const reply = await new Promise<Message>((resolve, reject) => {
      const timer = ports.clock.timer(timeoutMs, () => reject(new HoldfastError('timeout', `${path} did not answer`)))
      const end = (settle: () => void) => {
        timer[Symbol.dispose]()
        settle()
      }
      onLines(stream, (line) => end(() => resolve(JSON.parse(line) as Message)))
      stream.once('error', (cause) => end(() => reject(cause)))
      stream.once('close', () => end(() => reject(new HoldfastError('unreachable', `${path} closed the connection`))))
      stream.write(`${JSON.stringify(message)}\n`)
    })
    if (typeof reply['error'] !== 'string') return reply
    const code = isErrorCode(reply['error']) ? reply['error'] : 'internal'
    const mend = typeof reply['mend'] === 'string' ? { mend: reply['mend'] } : {}
    throw new HoldfastError(code, String(reply['message']), mend)
  } finally {
    stream.destroy()
  }
}

/** A field that is text; empty when it is not there. */
export function textField(message: Message, name: string): string {
  const value = message[name]
  return typeof value === 'string' ? value : ''
}
