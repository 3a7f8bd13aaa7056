/** The real streams: TLS over TCP, and unix sockets whose queues can be asked for. */
import { chmod, chown, rm } from 'node:fs/promises'
import { connect as connectSocket, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { checkServerIdentity, connect as connectTls, createServer as createTlsServer, type TLSSocket } from 'node:tls'
import { HoldfastError } from '../errors.ts'
import type { CountedStream, Listening, Streams } from '../streams.ts'
import { libc } from './libc.ts'

/** From linux/sockios.h: what is in a socket's queues. */
const [FIONREAD, SIOCOUTQ] = [0x541bn, 0x5411n]
/** A handshake that does not end holds a place of ours. */
const handshakeMs = 5000

export function nodeStreams(): Streams {
  return { connect, listen, listenUnix, connectUnix }
}

const connect: Streams['connect'] = (to, identity, signal) =>
  new Promise((resolve, reject) => {
    signal.throwIfAborted()
    const socket = connectTls({
      ...{ host: to.host, port: to.port, minVersion: 'TLSv1.3', ...identity },
      servername: to.peerName,
      checkServerIdentity: (_host, certificate) => checkServerIdentity(to.peerName, certificate),
    })
    const end = (): void => void socket.destroy(signal.reason as Error)
    signal.addEventListener('abort', end, { once: true })
    const refuse = (cause: NodeJS.ErrnoException): void => {
      signal.removeEventListener('abort', end)
      const isStranger = cause.code === 'ERR_TLS_CERT_ALTNAME_INVALID' || /certificate|alert/i.test(cause.message)
      const [code, what] = isStranger
        ? (['not-allowed', 'is somebody else'] as const)
        : (['unreachable', 'does not answer'] as const)
      reject(new HoldfastError(code, `${to.peerName} at ${to.host}:${to.port} ${what}`, {}, { cause }))
    }
    socket.once('error', refuse)
    socket.once('secureConnect', () => {
      signal.removeEventListener('abort', end)
      socket.off('error', refuse)
      socket.setNoDelay(true)
      resolve(socket)
    })
  })

const listen: Streams['listen'] = async (at, identity, onStream, onRefused) => {
  const open = new Set<TLSSocket>()
  const server = createTlsServer(
    { ...identity, minVersion: 'TLSv1.3', requestCert: true, rejectUnauthorized: true, handshakeTimeout: handshakeMs },
    (socket) => {
      socket.on('error', () => socket.destroy())
      if (socket.getPeerX509Certificate()?.checkHost(at.peerName, { subject: 'never' }) !== at.peerName) {
        onRefused(`somebody who is not ${at.peerName} came from ${socket.remoteAddress ?? 'nowhere'}`)
        socket.destroy()
        return
      }
      socket.setNoDelay(true)
      open.add(socket)
      socket.once('close', () => open.delete(socket))
      onStream(socket)
    },
  )
  server.on('tlsClientError', (cause) => onRefused(cause.message))
  await listening(server, { host: at.host, port: at.port })
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy()
      await closed(server)
    },
  } satisfies Listening
}

const listenUnix: Streams['listenUnix'] = async (path, onStream, uid) => {
  await rm(path, { force: true })
  const open = new Set<Socket>()
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy())
    open.add(socket)
    socket.once('close', () => open.delete(socket))
    onStream(socket)
  })
  await listening(server, { path })
  await chmod(path, 0o600)
  if (uid !== undefined) await chown(path, uid, uid)
  return {
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy()
      await closed(server)
    },
  }
}

const connectUnix: Streams['connectUnix'] = (path, listener) =>
  new Promise((resolve, reject) => {
    const socket = connectSocket({ path })
    const refuse = (cause: Error): void =>
      reject(new HoldfastError('unreachable', `nobody listens on ${path}`, {}, { cause }))
    socket.once('error', refuse)
    socket.once('connect', () => {
      socket.off('error', refuse)
      const found = listener === undefined ? listener : libc().peerPid(fdOf(socket))
      if (found === listener) return resolve(counted(socket))
      socket.destroy()
      reject(new HoldfastError('not-allowed', `process ${found} listens on ${path}, not ${listener}`))
    })
  })

function counted(socket: Socket): CountedStream {
  const queue = new Int32Array(1)
  const ask = (request: bigint): number => {
    const fd = fdOf(socket)
    if (fd < 0) return 0
    const result = libc().ioctl(fd, request, new Uint8Array(queue.buffer))
    if (result < 0) throw new HoldfastError('host-error', `a socket does not tell its queue (errno ${-result})`)
    return queue[0] ?? 0
  }
  return { stream: socket, unread: () => ask(FIONREAD), unsent: () => socket.writableLength + ask(SIOCOUTQ) }
}

function fdOf(socket: Socket): number {
  return (socket as unknown as { _handle: { fd: number } | null })._handle?.fd ?? -1
}

function listening(server: Server, at: { host: string; port: number } | { path: string }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const where = 'path' in at ? at.path : `${at.host}:${at.port}`
      reject(new HoldfastError('host-error', `${where} cannot be listened on (${cause.code ?? ''})`, {}, { cause }))
    })
    server.listen(at, resolve)
  })
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()))
}
