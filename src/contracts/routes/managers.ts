/** Routes of managers. */
import { Manager } from '../inventory.ts'
import { Open, Strict, Time, Type } from '../schema.ts'
import { ListQuery, Nothing, Page, route } from './row.ts'

export const managerRoutes = {
  listManagers: route({
    method: 'GET',
    path: '/v1/managers',
    summary: 'The managers of the cluster, and which of them leads',
    group: 'managers',
    role: 'reader',
    query: ListQuery,
    response: Page(Manager),
    status: 200,
  }),

  removeManager: route({
    method: 'DELETE',
    path: '/v1/managers/{manager}',
    summary: 'Forget a manager that is gone',
    group: 'managers',
    role: 'administrator',
    response: Nothing,
    status: 204,
  }),

  createManagerToken: route({
    method: 'POST',
    path: '/v1/manager-tokens',
    summary: "A one-time token for `holdfast manager join`: it opens the key of the cluster's authority",
    group: 'managers',
    role: 'administrator',
    body: Strict({ validMinutes: Type.Optional(Type.Integer({ minimum: 1, maximum: 60 })) }),
    response: Open({ token: Type.String(), expires: Time }),
    status: 201,
  }),
} as const
