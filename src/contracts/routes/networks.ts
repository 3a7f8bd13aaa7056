/** Routes of networks. */
import { CreateNetwork, NetworkObject } from '../inventory.ts'
import { ListQuery, Nothing, Page, route } from './row.ts'

export const networkRoutes = {
  listNetworks: route({
    method: 'GET',
    path: '/v1/networks',
    summary: 'List networks (port groups)',
    group: 'networks',
    role: 'reader',
    query: ListQuery,
    response: Page(NetworkObject),
    status: 200,
  }),

  createNetwork: route({
    method: 'POST',
    path: '/v1/networks',
    summary: 'Add a network',
    group: 'networks',
    role: 'administrator',
    body: CreateNetwork,
    response: NetworkObject,
    status: 201,
  }),

  removeNetwork: route({
    method: 'DELETE',
    path: '/v1/networks/{network}',
    summary: 'Remove an unused network',
    group: 'networks',
    role: 'administrator',
    response: Nothing,
    status: 204,
  }),
} as const
