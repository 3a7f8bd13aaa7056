/** E-mail by SMTP, with nodemailer. The socket is ours, so that whatever a server does the try ends when it is aborted. */
import { connect, type Socket } from 'node:net'
import { HoldfastError } from '../errors.ts'
import type { Mail, Mailer, MailServer } from '../mailer.ts'

/** `stepMs`: within which each step of the exchange must be over. */
export function nodeMailer(stepMs = 10_000): Mailer {
  return { send: (server, mail, signal) => send(server, mail, signal, stepMs) }
}

async function send(server: MailServer, mail: Mail, signal: AbortSignal, stepMs: number): Promise<string> {
  // Loaded with the first mail: most managers send none for a long time.
  const { createTransport } = await import('nodemailer')
  const socket = await connected(server, signal, stepMs)
  const aborted = Promise.withResolvers<never>()
  const onAbort = (): void => aborted.reject(reasonOf(signal))
  signal.addEventListener('abort', onAbort, { once: true })
  aborted.promise.catch(() => undefined)
  const transport = createTransport({
    ...{ connection: socket, host: server.host, port: server.port, name: 'holdfast' },
    ...{ secure: server.security === 'tls', requireTLS: server.security === 'starttls' },
    ignoreTLS: server.security === 'none',
    tls: { minVersion: 'TLSv1.2', ...(server.ca === null ? {} : { ca: server.ca }) },
    ...(server.user === null ? {} : { auth: { user: server.user, pass: server.password ?? '' } }),
    ...{ connectionTimeout: stepMs, greetingTimeout: stepMs, socketTimeout: stepMs },
    // A mail is made of text alone: nothing that is in it may make us read files or fetch addresses.
    ...{ disableFileAccess: true, disableUrlAccess: true },
  })
  try {
    const { from, subject, text, messageId } = mail
    const headers = { 'auto-submitted': 'auto-generated' }
    const sending = transport.sendMail({ from, to: [...mail.to], subject, text, messageId, headers })
    sending.catch(() => undefined)
    const sent = await Promise.race([sending, aborted.promise])
    const refused = sent.rejected.map(String)
    return refused.length === 0 ? sent.response : `${sent.response}; refused for ${refused.join(', ')}`
  } catch (thrown) {
    if (signal.aborted) throw reasonOf(signal)
    throw problemOf(server, thrown)
  } finally {
    signal.removeEventListener('abort', onAbort)
    transport.close()
    socket.destroy()
  }
}

function connected({ host, port }: MailServer, signal: AbortSignal, stepMs: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, signal })
    socket.setTimeout(stepMs, () => socket.destroy(new Error('it did not answer in time')))
    socket.once('error', (cause) => {
      reject(signal.aborted ? reasonOf(signal) : unreachable(host, port, cause))
    })
    socket.once('connect', () => {
      socket.setTimeout(0)
      // Errors from now on are nodemailer's to notice; without a listener they would end the process.
      socket.on('error', () => undefined)
      resolve(socket)
    })
  })
}

function reasonOf(signal: AbortSignal): Error {
  const reason: unknown = signal.reason
  return reason instanceof Error ? reason : new Error(String(reason))
}

function unreachable(host: string, port: number, cause: unknown): HoldfastError {
  const mend = `Check that ${host} is up and takes mail on port ${port}.`
  return new HoldfastError('unreachable', `the mail server ${host}:${port} did not answer`, { mend }, { cause })
}

/** What the server said, when it said something; nothing of it bears the password. */
function problemOf({ host, port }: MailServer, thrown: unknown): HoldfastError {
  const response = (thrown as { response?: unknown }).response
  if (typeof response !== 'string' || response === '') return unreachable(host, port, thrown)
  return new HoldfastError('host-error', `the mail server ${host}:${port} refused: ${response.slice(0, 300)}`, {
    mend: 'Check user, password, sender and recipients.',
  })
}
