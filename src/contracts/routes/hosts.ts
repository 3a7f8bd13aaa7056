/** Routes of hosts. */
import { Host, Task } from '../inventory.ts'
import { Open, Strict, Time, Type } from '../schema.ts'
import { ListQuery, Nothing, Page, route } from './row.ts'

export const hostRoutes = {
  listHosts: route({
    method: 'GET',
    path: '/v1/hosts',
    summary: 'List hosts',
    group: 'hosts',
    role: 'reader',
    query: ListQuery,
    response: Page(Host),
    status: 200,
  }),

  getHost: route({
    method: 'GET',
    path: '/v1/hosts/{host}',
    summary: 'Show a host',
    group: 'hosts',
    role: 'reader',
    response: Host,
    status: 200,
  }),

  enterMaintenance: route({
    method: 'POST',
    path: '/v1/hosts/{host}/maintenance',
    summary: 'Move every VM away and keep the host empty',
    group: 'hosts',
    role: 'operator',
    body: Strict({
      force: Type.Optional(Type.Boolean({ description: 'although it takes room that admission control keeps' })),
    }),
    response: Task,
    status: 202,
  }),

  leaveMaintenance: route({
    method: 'DELETE',
    path: '/v1/hosts/{host}/maintenance',
    summary: 'Let VMs come to the host again',
    group: 'hosts',
    role: 'operator',
    response: Host,
    status: 200,
  }),

  confirmHostOff: route({
    method: 'POST',
    path: '/v1/hosts/{host}/confirm-off',
    summary: 'A person says: this host is off. Its VMs may be started elsewhere',
    group: 'hosts',
    role: 'administrator',
    body: Strict({ iAmSure: Type.Literal(true) }),
    response: Host,
    status: 200,
  }),

  removeHost: route({
    method: 'DELETE',
    path: '/v1/hosts/{host}',
    summary: 'Forget an empty host',
    group: 'hosts',
    role: 'administrator',
    response: Nothing,
    status: 204,
  }),

  createJoinToken: route({
    method: 'POST',
    path: '/v1/join-tokens',
    summary: 'A one-time token for `holdfast agent join`',
    group: 'hosts',
    role: 'administrator',
    body: Strict({ validMinutes: Type.Optional(Type.Integer({ minimum: 1, maximum: 10080 })) }),
    response: Open({ token: Type.String(), expires: Time }),
    status: 201,
  }),
} as const
