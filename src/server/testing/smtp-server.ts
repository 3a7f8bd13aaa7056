/** Test code: an SMTP server on loopback. */
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { createSecureContext, TLSSocket } from 'node:tls'
import type { KeyPair } from '../../manager/app/authority.ts'

export interface SmtpOptions {
  /** Of the server; with `isTls`, and for STARTTLS. */
  readonly pair: KeyPair
  readonly isTls?: boolean
  readonly refuses?: boolean
  readonly isSilent?: boolean
  /** Neither STARTTLS nor AUTH. */
  readonly offersNothing?: boolean
}

/** A small SMTP server: what it was told, line by line. */
export class SmtpServer implements AsyncDisposable {
  readonly lines: string[] = []
  readonly wasEncrypted: boolean[] = []
  port = 0
  readonly #options: SmtpOptions
  readonly #sockets = new Set<Socket>()
  #server: Server | undefined

  private constructor(options: SmtpOptions) {
    this.#options = options
  }

  static async open(options: SmtpOptions): Promise<SmtpServer> {
    const smtp = new SmtpServer(options)
    const server = createServer((socket) => {
      smtp.#sockets.add(socket)
      socket.on('error', () => undefined)
      if (options.isSilent !== true) smtp.#serve(options.isTls === true ? smtp.#encrypted(socket) : socket)
    })
    smtp.#server = server
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    smtp.port = (server.address() as AddressInfo).port
    return smtp
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    this.#server?.close()
  }

  #encrypted(socket: Socket): TLSSocket {
    const encrypted = new TLSSocket(socket, {
      isServer: true,
      secureContext: createSecureContext({ ...this.#options.pair }),
    })
    encrypted.on('error', () => undefined)
    return encrypted
  }

  #serve(socket: Socket, isAfterStartTls = false): void {
    let [pending, isData] = ['', false]
    const say = (text: string): void => void socket.write(`${text}\r\n`)
    if (!isAfterStartTls) say('220 a test')
    const onData = (chunk: Buffer): void => {
      pending += chunk.toString()
      for (let end = pending.indexOf('\r\n'); end >= 0; end = pending.indexOf('\r\n')) {
        const line = pending.slice(0, end)
        pending = pending.slice(end + 2)
        this.lines.push(line)
        this.wasEncrypted.push(socket instanceof TLSSocket)
        const word = line.slice(0, 4).toUpperCase()
        if (isData) {
          if (line !== '.') continue
          isData = false
          say('250 kept as 42')
        } else if (word === 'EHLO') {
          const offered = socket instanceof TLSSocket ? 'AUTH PLAIN LOGIN' : 'STARTTLS'
          const offers = this.#options.offersNothing === true ? [] : [`250-${offered}`]
          say(['250-test', ...offers, '250 8BITMIME'].join('\r\n'))
        } else if (this.#options.offersNothing === true && /^(STAR|AUTH)/.test(word)) {
          say('502 not here')
        } else if (word === 'STAR') {
          say('220 go on')
          socket.off('data', onData)
          this.#serve(this.#encrypted(socket), true)
        } else if (word === 'AUTH') say(this.#options.refuses === true ? '535 who are you' : '235 welcome')
        else if (word === 'DATA') {
          isData = true
          say('354 go on')
        } else if (word === 'QUIT') socket.end('221 bye\r\n')
        else say('250 yes')
      }
    }
    socket.on('data', onData)
  }
}
