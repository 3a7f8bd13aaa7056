/** Tells one target one thing, once, within a bounded time. */
import { createHmac } from 'node:crypto'
import { deadline, type Clock } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { Mailer } from '../../base/mailer.ts'
import type { HttpResponse, Network } from '../../base/network.ts'
import { readBody } from '../../contracts/http-exchange.ts'
import { withoutSecrets } from '../domain/hidden-words.ts'
import type { EmailTarget, Notice, TargetRecord, WebhookTarget } from '../domain/alarms/notification.ts'
import type { TellTarget } from '../reconcilers/alarms/deliveries.ts'
import type { Sealed } from './sealed.ts'

export interface TellPorts {
  readonly clock: Clock
  readonly network: Pick<Network, 'request'>
  readonly mailer: Mailer
  readonly sealed: Sealed
  readonly version: string
}

const webhookMs = 10_000
/** The steps of SMTP, each of which may take its time. */
const emailMs = 30_000
const answerBytes = 64 * 1024
const shownCharacters = 200

/** What a secret of a target is sealed for: it opens in this target's record alone. */
export function sealContext(target: Pick<TargetRecord, 'uuid'>, field: 'url' | 'secret' | 'password'): string {
  return `notification-target/${target.uuid}/${field}`
}

export function tellTarget(ports: TellPorts): TellTarget {
  return async (target, notice, signal) => {
    const { webhook, email } = target
    const ms = webhook === null ? emailMs : webhookMs
    const late = new HoldfastError('timeout', `${target.name} did not answer within ${ms / 1000} s`, {
      mend: 'Whether it got the message is not known.',
    })
    using limit = deadline(ports.clock, ms, late)
    const either = AbortSignal.any([limit.signal, signal])
    if (webhook !== null) return await callWebhook(ports, { target, webhook, notice }, either)
    if (email !== null) return await sendMail(ports, { target, email, notice }, either)
    throw new HoldfastError('wrong-state', `${target.name} is of a kind that this version does not know`, {
      mend: 'Upgrade this manager, or remove the target.',
    })
  }
}

async function callWebhook(
  { clock, network, sealed, version }: TellPorts,
  { target, webhook, notice }: { target: TargetRecord; webhook: WebhookTarget; notice: Notice },
  signal: AbortSignal,
): Promise<string> {
  const url = sealed.unseal(webhook.url, sealContext(target, 'url'))
  const body = JSON.stringify(notice)
  const timestamp = `${Math.floor(clock.now() / 1000)}`
  const secret = webhook.secret === null ? null : sealed.unseal(webhook.secret, sealContext(target, 'secret'))
  const response = await network.request({
    ...{ method: 'POST', url, body, signal, allowsTls12: true },
    headers: {
      'content-type': 'application/json',
      // Messages are hours apart: a connection that is kept would be a dead one.
      connection: 'close',
      'user-agent': `Holdfast/${version}`,
      'x-holdfast-delivery': notice.delivery,
      'x-holdfast-event': `alarm.${notice.change}`,
      'x-holdfast-timestamp': timestamp,
      ...(secret === null ? {} : { 'x-holdfast-signature': signature(secret, timestamp, body) }),
    },
    ...(webhook.ca === null ? {} : { tls: { ca: webhook.ca } }),
  })
  const said = await wordsOf(response, secretsOf(url, secret), signal)
  const answer = `${response.status}${said === '' ? '' : ` ${said}`}`
  if (response.status >= 200 && response.status < 300) return answer
  const { location } = response.headers
  const isMoved = response.status >= 300 && response.status < 400 && location !== undefined
  throw new HoldfastError('host-error', `${webhook.origin} answered ${answer}`, {
    // Nothing is sent to where an answer points: alarms and the signature are for the address that was given.
    mend: isMoved ? `It points to another address, which is not followed: give that one.` : 'Look into its log.',
    status: response.status,
  })
}

/** Hex of HMAC-SHA256 over the time and the body, so that an old message cannot be played again. */
export function signature(secret: string, timestamp: string, body: string): string {
  return `sha256=${createHmac('sha256', secret).update(`${timestamp}.${body}`).digest('hex')}`
}

/** Receivers say what they were asked for, and the path of an address may be all that keeps others from it. */
function secretsOf(url: string, secret: string | null): string[] {
  const { pathname, search } = new URL(url)
  return [url, pathname + search, pathname, search, secret ?? ''].filter((each) => each !== '/')
}

/**
 * The beginning of the answer, without secrets. One that does not come to its end says nothing: its status has said all that
 * counts.
 */
async function wordsOf(response: HttpResponse, secrets: readonly string[], signal: AbortSignal): Promise<string> {
  const onAbort = (): void => void response.body.destroy()
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    if (signal.aborted) return ''
    const text = Buffer.from(await readBody(response.body, answerBytes)).toString('utf8')
    return withoutSecrets(text, secrets).replace(/\s+/g, ' ').trim().slice(0, shownCharacters)
  } catch {
    response.body.destroy()
    return ''
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

async function sendMail(
  { mailer, sealed }: TellPorts,
  { target, email, notice }: { target: TargetRecord; email: EmailTarget; notice: Notice },
  signal: AbortSignal,
): Promise<string> {
  const { host, port, security, user, ca, from, to } = email
  const password = email.password === null ? null : sealed.unseal(email.password, sealContext(target, 'password'))
  const domain = from.slice(from.lastIndexOf('@') + 1)
  return mailer.send(
    { host, port, security, user, password, ca },
    { from, to, ...mailText(notice), messageId: `<${notice.delivery}@${domain}>` },
    signal,
  )
}

function mailText({ change, alarm, cluster }: Notice): { subject: string; text: string } {
  const word = change === 'raised' ? alarm.severity : change === 'cleared' ? 'over' : 'test'
  const lines = [
    alarm.message,
    '',
    ...(change === 'raised' ? [alarm.mend, ''] : []),
    `alarm     ${alarm.id} (${alarm.type})`,
    `about     ${alarm.subject.kind} ${alarm.subject.name}${alarm.place === null ? '' : ` on ${alarm.place.name}`}`,
    `severity  ${alarm.severity}`,
    `raised    ${alarm.raisedAt}${alarm.count > 1 ? `, for the ${alarm.count}th time` : ''}`,
    ...(alarm.clearedAt === null
      ? []
      : [`cleared   ${alarm.clearedAt}${alarm.clearedBy === null ? '' : `, by ${alarm.clearedBy}`}`]),
    `cluster   ${cluster.name} (${cluster.id})`,
  ]
  return { subject: `[${cluster.name}] ${word}: ${alarm.message}`.slice(0, 200), text: `${lines.join('\n')}\n` }
}
