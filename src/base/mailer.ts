/** E-mail, passed in. */
import { HoldfastError } from './errors.ts'

export interface MailServer {
  readonly host: string
  readonly port: number
  /** `starttls` demands it: nothing is said in the clear before. */
  readonly security: 'starttls' | 'tls' | 'none'
  readonly user: string | null
  readonly password: string | null
  /** The only authority that is believed, PEM; null: the machine's own list. */
  readonly ca: string | null
}

export interface Mail {
  readonly from: string
  readonly to: readonly string[]
  readonly subject: string
  readonly text: string
  /** The same for every try, so that a reader's program shows it once. */
  readonly messageId: string
}

export interface Mailer {
  /**
   * Hands a mail to a server, and resolves with what it answered. Rejects with `unreachable` when the outcome is unknown,
   * with `host-error` when the server refused. Aborting ends the connection.
   */
  send(server: MailServer, mail: Mail, signal: AbortSignal): Promise<string>
}

/** Of a program that sends none. */
export const noMailer: Mailer = {
  send: () => Promise.reject(new HoldfastError('not-allowed', 'this manager sends no e-mail')),
}
