/** Routes of tokens and sessions. */
import { ApiToken } from '../inventory.ts'
import { Name, OneOf, Open, Strict, Time, Type } from '../schema.ts'
import { EmptyBody, Nothing, Page, roles, route } from './row.ts'

export const SignIn = Strict({ code: Type.String() })

export const accessRoutes = {
  listTokens: route({
    method: 'GET',
    path: '/v1/tokens',
    summary: 'List API tokens (never their secrets)',
    group: 'access',
    role: 'administrator',
    response: Page(ApiToken),
    status: 200,
  }),

  createToken: route({
    method: 'POST',
    path: '/v1/tokens',
    summary: 'Make an API token; its secret is shown once',
    group: 'access',
    role: 'administrator',
    body: Strict({
      name: Name,
      role: OneOf(roles),
      validDays: Type.Optional(Type.Integer({ minimum: 1, maximum: 3650 })),
    }),
    response: Open({ token: ApiToken, secret: Type.String() }),
    status: 201,
  }),

  revokeToken: route({
    method: 'DELETE',
    path: '/v1/tokens/{token}',
    summary: 'Revoke an API token',
    group: 'access',
    role: 'administrator',
    response: Nothing,
    status: 204,
  }),

  createSignInCode: route({
    method: 'POST',
    path: '/v1/sign-in-codes',
    summary: 'A one-use code for a link that signs a browser in',
    group: 'access',
    role: 'operator',
    body: EmptyBody,
    response: Open({ code: Type.String(), expires: Time }),
    status: 201,
  }),

  signIn: route({
    method: 'POST',
    path: '/v1/session',
    summary: 'Trade a sign-in code for a session cookie',
    group: 'access',
    role: null,
    body: SignIn,
    response: Nothing,
    status: 204,
  }),

  signOut: route({
    method: 'DELETE',
    path: '/v1/session',
    summary: 'End the session',
    group: 'access',
    role: null,
    response: Nothing,
    status: 204,
  }),
} as const
