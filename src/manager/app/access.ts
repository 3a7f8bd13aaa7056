/**
 * Who may call: API tokens, sign-in codes (one use, traded for a session), and browser sessions. The store has hashes
 * alone; a secret is told once, to the one who asked for it.
 */
import { timingSafeEqual } from 'node:crypto'
import { isoTime } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { TokenId } from '../../base/ids.ts'
import type { ApiToken } from '../../contracts/inventory.ts'
import type { ReplyOf, Role } from '../../contracts/routes.ts'
import { nameClaim } from '../domain/names.ts'
import type { SecretRecord, TokenRecord } from '../store/records.ts'
import type { AppContext, Caller } from './context.ts'
import { pageOf, type PageOf } from './pages.ts'
import { hashMatches, hashOf, newSecret } from './secrets.ts'
import { claim, need, newEvent, subjectOf, unclaim, write } from './write.ts'

const minuteMs = 60_000
const signInMs = 60 * minuteMs
export const sessionMs = 12 * 60 * minuteMs
/** `lastUsed` is written at most this often: a read should not become a write. */
const lastUsedEveryMs = 60 * minuteMs

export class Access {
  readonly #context: AppContext
  /** Secrets that were right, by the record that they were compared with; in memory alone, and gone with the record. */
  readonly #shown = new WeakMap<TokenRecord, Buffer>()

  constructor(context: AppContext) {
    this.#context = context
  }

  async listTokens(): Promise<PageOf<ApiToken>> {
    const mirror = await this.#context.mirror.fresh()
    const page = pageOf(mirror.list('token'), {})
    return { ...page, items: page.items.map(tokenView), revision: mirror.revision }
  }

  async createToken(
    body: { name: string; role: Role; validDays?: number | undefined },
    caller: string,
  ): Promise<ReplyOf<'createToken'>> {
    const { store, clock, random } = this.#context
    const id = (await store.nextId('token')) as TokenId
    const now = clock.now()
    // The id is part of the secret, so that checking one reads one record.
    const secret = `hft.${id}.${newSecret(random)}`
    const token: TokenRecord = {
      id,
      uuid: random.uuid(),
      name: body.name,
      created: isoTime(now),
      v: 1,
      role: body.role,
      secretHash: hashOf(secret),
      expires: body.validDays === undefined ? null : isoTime(now + body.validDays * 24 * 60 * minuteMs),
      lastUsed: null,
    }
    await write(store, async () => ({
      changes: [
        await claim(store, nameClaim('token', '', body.name), id, () => nameTaken(body.name)),
        { do: 'create', kind: 'token', value: token },
      ],
      events: [
        newEvent('token.created', subjectOf('token', token), `The token ${body.name} (${body.role}) was made`, {
          by: caller,
        }),
      ],
      value: undefined,
    }))
    return { token: tokenView(token), secret }
  }

  /** Nothing where there is none of that name. */
  async revokeNamed(name: string, caller: string): Promise<void> {
    const mirror = await this.#context.mirror.fresh()
    const found = mirror.list('token').find((token) => token.name === name)
    if (found !== undefined) await this.revokeToken(found.id, caller)
  }

  async revokeToken(id: string, caller: string): Promise<null> {
    const { store } = this.#context
    return write(store, async () => {
      const { value: token, revision } = await need(store, 'token', id)
      return {
        changes: [
          { do: 'remove', kind: 'token', id, expected: revision },
          ...(await unclaim(store, nameClaim('token', '', token.name), id)),
        ],
        events: [
          newEvent('token.revoked', subjectOf('token', token), `The token ${token.name} was revoked`, { by: caller }),
        ],
        value: null,
      }
    })
  }

  /** The caller that a bearer token stands for; undefined when there is none such, or its time is over. */
  async callerOfToken(text: string): Promise<Caller | undefined> {
    const id = /^hft\.(token-[1-9][0-9]*)\.[A-Za-z0-9_-]{43}$/.exec(text)?.[1]
    const stored = id === undefined ? undefined : await this.#context.store.get('token', id)
    if (stored === undefined || !this.#isSecretOf(stored.value, text)) return undefined
    const token = stored.value
    const now = this.#context.clock.now()
    if (token.expires !== null && Date.parse(token.expires) <= now) return undefined
    if (token.lastUsed === null || now - Date.parse(token.lastUsed) > lastUsedEveryMs) {
      const value = { ...token, lastUsed: isoTime(now) }
      const change = { do: 'update', kind: 'token', value, expected: stored.revision } as const
      // Losing this race means that another request has written it.
      await this.#context.store.commit({ changes: [change], events: [] })
    }
    return { name: `token ${token.name}`, role: token.role, id: token.id }
  }

  /** The hash is made once for each record: programs show the same token with every request. */
  #isSecretOf(token: TokenRecord, text: string): boolean {
    const given = Buffer.from(text)
    const shown = this.#shown.get(token)
    if (shown !== undefined) return shown.length === given.length && timingSafeEqual(shown, given)
    if (!hashMatches(token.secretHash, text)) return false
    this.#shown.set(token, given)
    return true
  }

  async createSignInCode(caller: Caller): Promise<ReplyOf<'createSignInCode'>> {
    const made = await this.#newSecret('sign-in', caller.role, signInMs, caller.name)
    return { code: made.secret, expires: made.record.expires }
  }

  /** Trades a code for a session; the code works once. Throws `not-signed-in`. */
  async signIn(code: string): Promise<{ session: string; maxAgeMs: number }> {
    const { store, clock, random } = this.#context
    const session = newSecret(random)
    await write(store, async () => {
      const stored = await store.get('secret', hashOf(code))
      const found = stored?.value
      const isGood = found?.kind === 'sign-in' && found.usedBy === null && Date.parse(found.expires) > clock.now()
      if (stored === undefined || found === undefined || !isGood) {
        throw new HoldfastError('not-signed-in', 'this sign-in code is unknown, used or too old', {
          mend: 'Ask for a new link: each works once.',
        })
      }
      const record: SecretRecord = {
        id: hashOf(session),
        v: 1,
        kind: 'session',
        role: found.role,
        expires: isoTime(clock.now() + sessionMs),
        usedBy: null,
        madeBy: `session of ${found.madeBy ?? 'nobody'}`,
      }
      const used = { ...found, usedBy: 'a browser' }
      return {
        changes: [
          { do: 'update', kind: 'secret', value: used, expected: stored.revision },
          { do: 'create', kind: 'secret', value: record },
        ],
        value: undefined,
      }
    })
    return { session, maxAgeMs: sessionMs }
  }

  async callerOfSession(session: string): Promise<Caller | undefined> {
    const stored = await this.#context.store.get('secret', hashOf(session))
    const found = stored?.value
    if (found?.kind !== 'session' || Date.parse(found.expires) <= this.#context.clock.now()) return undefined
    return { name: found.madeBy ?? 'a session', role: found.role, id: found.id }
  }

  async signOut(session: string): Promise<void> {
    const { store } = this.#context
    const stored = await store.get('secret', hashOf(session))
    if (stored?.value.kind !== 'session') return
    const change = { do: 'remove', kind: 'secret', id: stored.value.id, expected: stored.revision } as const
    await store.commit({ changes: [change], events: [] })
  }

  async #newSecret(
    kind: SecretRecord['kind'],
    role: Role,
    validMs: number,
    madeBy: string,
  ): Promise<{ secret: string; record: SecretRecord }> {
    const { store, clock, random } = this.#context
    const secret = newSecret(random)
    const expires = isoTime(clock.now() + validMs)
    const record: SecretRecord = { id: hashOf(secret), v: 1, kind, role, expires, usedBy: null, madeBy }
    await write(store, async () => ({ changes: [{ do: 'create', kind: 'secret', value: record }], value: undefined }))
    return { secret, record }
  }
}

export function tokenView(record: TokenRecord): ApiToken {
  const { id, name, role, created, lastUsed, expires } = record
  return { id, name, role, created, lastUsed, expires }
}

function nameTaken(name: string): HoldfastError {
  return new HoldfastError('name-taken', `there is a token ${name} already`, { mend: 'Choose another name.' })
}
