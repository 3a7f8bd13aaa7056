/** Who is told of alarms. Secrets are sealed as they come in, and never shown. */
import { isoTime } from '../../base/clock.ts'
import { describeError, HoldfastError } from '../../base/errors.ts'
import type { AlarmId, TargetId } from '../../base/ids.ts'
import type { CreateNotificationTarget, NotificationTarget, NotificationTest } from '../../contracts/notifications.ts'
import type { CallOf } from '../../contracts/routes.ts'
import type { EmailTarget, Notice, TargetRecord, WebhookTarget } from '../domain/alarms/notification.ts'
import { nameClaim, nameProblem } from '../domain/names.ts'
import type { TellTarget } from '../reconcilers/alarms/deliveries.ts'
import type { Change } from '../store/store.ts'
import type { AppContext, Caller } from './context.ts'
import type { Mirror } from './mirror.ts'
import { namedPageOf, type PageOf } from './pages.ts'
import type { Sealed } from './sealed.ts'
import { sealContext } from './tell-target.ts'
import { claim, need, newEvent, notFound, subjectOf, unclaim, write } from './write.ts'

/** All are told in the commit of an alarm, which holds a hundred changes. */
const mostTargets = 20
const defaultPorts = { starttls: 587, tls: 465, none: 25 } as const

export class NotificationTargets {
  readonly #context: AppContext
  readonly #sealed: Sealed
  readonly #tell: TellTarget

  constructor(context: AppContext, sealed: Sealed, tell: TellTarget) {
    this.#context = context
    this.#sealed = sealed
    this.#tell = tell
  }

  async list(query: CallOf<'listNotificationTargets'>['query'] = {}): Promise<PageOf<NotificationTarget>> {
    const mirror = await this.#context.mirror.fresh()
    const page = namedPageOf(mirror.list('target'), query)
    const items = page.items.map((record) => targetView(record, mirror))
    return { items, next: page.next, revision: mirror.revision }
  }

  async get(id: string): Promise<NotificationTarget> {
    const mirror = await this.#context.mirror.fresh()
    const record = mirror.get('target', id)
    if (record === undefined) throw notFound('target', id)
    return targetView(record, mirror)
  }

  /** Throws `invalid-request`, `name-taken`, `wrong-state` (too many). */
  async create(body: CreateNotificationTarget, caller: Caller): Promise<NotificationTarget> {
    const problem = nameProblem(body.name)
    if (problem !== undefined) throw new HoldfastError('invalid-request', problem)
    const { store, clock, random } = this.#context
    const uuid = random.uuid()
    const way = this.#wayOf(body, uuid)
    const record: TargetRecord = {
      ...{ id: (await store.nextId('target')) as TargetId, v: 1, uuid, name: body.name, created: isoTime(clock.now()) },
      ...{ leastSeverity: body.leastSeverity ?? 'warning', tellsClearing: body.tellsClearing ?? true, ...way },
    }
    const message = `${record.name} is told of alarms`
    await write(store, async () => {
      if ((await store.list('target')).items.length >= mostTargets) throw tooMany()
      return {
        changes: [
          await claim(store, nameClaim('target', '', body.name), record.id, () => nameTaken(body.name)),
          { do: 'create', kind: 'target', value: record },
        ],
        events: [newEvent('notification.target-added', subjectOf('target', record), message, { by: caller.name })],
        value: undefined,
      }
    })
    return this.get(record.id)
  }

  /** What it is owed is forgotten with it. */
  async remove(id: string, caller: Caller): Promise<null> {
    const { store } = this.#context
    await write(store, async () => {
      const { value, revision } = await need(store, 'target', id)
      const message = `${value.name} is not told of alarms any more`
      return {
        changes: [
          { do: 'remove', kind: 'target', id, expected: revision },
          ...(await unclaim(store, nameClaim('target', '', value.name), id)),
        ],
        events: [newEvent('notification.target-removed', subjectOf('target', value), message, { by: caller.name })],
        value: undefined,
      }
    })
    await forgetOwed(this.#context, id)
    return null
  }

  /** Says what came of it; rejects for a target that is not there. */
  async test(id: string, caller: Caller, signal: AbortSignal): Promise<NotificationTest> {
    const { store, clock } = this.#context
    const { value: target } = await need(store, 'target', id)
    const notice = await this.#testNotice(target, caller)
    const begun = clock.monotonic()
    const after = (): number => Math.round(clock.monotonic() - begun)
    try {
      const answer = await this.#tell(target, notice, signal)
      return { isDelivered: true, answer, milliseconds: after() }
    } catch (thrown) {
      const mend = thrown instanceof HoldfastError ? thrown.details.mend : undefined
      const answer = mend === undefined ? describeError(thrown) : `${describeError(thrown)}. ${mend}`
      return { isDelivered: false, answer, milliseconds: after() }
    }
  }

  async #testNotice(target: TargetRecord, caller: Caller): Promise<Notice> {
    const { store, clock, random } = this.#context
    const cluster = (await store.list('cluster')).items[0]?.value
    const now = isoTime(clock.now())
    const subject = { kind: 'target', id: target.id, name: target.name }
    return {
      ...{ version: 1, delivery: random.uuid(), change: 'test' },
      cluster: { id: cluster?.id ?? '', name: cluster?.name ?? '' },
      alarm: {
        ...{ id: 'alarm-0' as AlarmId, type: 'test', subject, place: null, severity: 'info', state: 'raised' },
        ...{
          message: `a test of ${target.name}, asked for by ${caller.name}`,
          mend: 'Nothing is wrong.',
          raisedAt: now,
        },
        ...{ acknowledgedAt: null, acknowledgedBy: null, clearedAt: null, clearedBy: null, count: 1 },
      },
    }
  }

  #wayOf(body: CreateNotificationTarget, uuid: string): Pick<TargetRecord, 'webhook' | 'email'> {
    const { webhook, email } = body
    if ((webhook === undefined) === (email === undefined)) {
      throw new HoldfastError('invalid-request', 'a target is a webhook or an e-mail address', {
        mend: 'Give exactly one of `webhook` and `email`.',
      })
    }
    if (webhook !== undefined) return { webhook: this.#webhookOf(webhook, uuid), email: null }
    if (email === undefined) throw new HoldfastError('internal', 'a target without a way')
    return { webhook: null, email: this.#emailOf(email, uuid) }
  }

  #webhookOf(given: NonNullable<CreateNotificationTarget['webhook']>, uuid: string): WebhookTarget {
    const url = URL.canParse(given.url) ? new URL(given.url) : undefined
    if (url === undefined || url.username !== '' || url.password !== '') {
      throw new HoldfastError('invalid-request', 'the address of the webhook is not one that can be used', {
        mend: 'Write it as https://host[:port]/path, without a user or password.',
        field: 'webhook/url',
      })
    }
    const { secret, ca } = given
    return {
      url: this.#sealed.seal(url.href, sealContext({ uuid }, 'url')),
      origin: url.origin,
      secret: secret === undefined ? null : this.#sealed.seal(secret, sealContext({ uuid }, 'secret')),
      ca: ca ?? null,
    }
  }

  #emailOf(given: NonNullable<CreateNotificationTarget['email']>, uuid: string): EmailTarget {
    const { host, security = 'starttls', user, password, ca, from, to } = given
    if ((user === undefined) !== (password === undefined)) {
      throw new HoldfastError('invalid-request', 'a mail server is signed in to with user and password', {
        mend: 'Give both, or neither.',
      })
    }
    if (password !== undefined && security === 'none') {
      throw new HoldfastError('invalid-request', 'a password is not sent in the clear', {
        mend: 'Use starttls or tls, or a server that wants no password.',
        field: 'email/security',
      })
    }
    return {
      ...{ host, port: given.port ?? defaultPorts[security], security, user: user ?? null, ca: ca ?? null, from, to },
      password: password === undefined ? null : this.#sealed.seal(password, sealContext({ uuid }, 'password')),
    }
  }
}

/** Removes what is owed to a target that is no more. */
async function forgetOwed({ store }: AppContext, target: string): Promise<void> {
  const owed = (await store.list('delivery')).items.filter(({ value }) => value.target === target)
  for (const { value, revision } of owed) {
    const change: Change = { do: 'remove', kind: 'delivery', id: value.id, expected: revision }
    // One that is told at this moment is removed by who tells it, or swept later.
    await store.commit({ changes: [change], events: [] })
  }
}

function targetView(record: TargetRecord, mirror: Mirror): NotificationTarget {
  const { id, uuid, name, created, leastSeverity, tellsClearing, webhook, email } = record
  const owed = mirror.list('delivery').filter(({ target }) => target === id)
  return {
    ...{ id, uuid, name, created, revision: mirror.revisionOf('target', id), leastSeverity, tellsClearing },
    kind: webhook === null ? 'email' : 'webhook',
    webhook:
      webhook === null
        ? null
        : { origin: webhook.origin, isSigned: webhook.secret !== null, hasOwnCa: webhook.ca !== null },
    email: email === null ? null : emailView(email),
    owed: owed.length,
    problem: owed.find(({ problem }) => problem !== null)?.problem ?? null,
  }
}

function emailView(email: EmailTarget): NonNullable<NotificationTarget['email']> {
  const { host, port, security, user, from, to } = email
  const hidden = { hasPassword: email.password !== null, hasOwnCa: email.ca !== null }
  return { host, port, security, user, ...hidden, from, to: [...to] }
}

function nameTaken(name: string): HoldfastError {
  return new HoldfastError('name-taken', `there is a notification target ${name} already`, {
    mend: 'Choose another name.',
  })
}

function tooMany(): HoldfastError {
  return new HoldfastError('wrong-state', `there are ${mostTargets} notification targets already`, {
    mend: 'Remove one first, or have a webhook tell several people.',
  })
}
