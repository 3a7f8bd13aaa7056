import { connect } from 'node:net'
import type { TcpProbe } from '../tcp.ts'

export function nodeTcpProbe(): TcpProbe {
  return {
    ask: ({ address, port, from }, timeoutMs) =>
      new Promise((resolve) => {
        const where = { host: address, port, ...(from === null ? {} : { localAddress: from }) }
        const socket = connect(where)
        const end = (problem: string | null): void => {
          socket.destroy()
          resolve(problem)
        }
        socket.setTimeout(timeoutMs, () => end(`${address} did not answer on port ${port} within ${timeoutMs} ms`))
        socket.once('connect', () => end(null))
        socket.on('error', (cause: NodeJS.ErrnoException) =>
          end(`${address} does not take connections on port ${port} (${cause.code ?? cause.message})`),
        )
      }),
  }
}
