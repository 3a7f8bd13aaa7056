/** Routes of fence devices. */
import { ChangeFencing, FenceHost, FenceTest, FencingSettings, SetHostFence } from '../fence.ts'
import { Host, Task } from '../inventory.ts'
import { Strict, Type } from '../schema.ts'
import { EmptyBody, route } from './row.ts'

export const fencingRoutes = {
  setHostFence: route({
    method: 'PUT',
    path: '/v1/hosts/{host}/fence',
    summary: 'Set a device that can switch the host off; it is asked for its status first',
    group: 'hosts',
    role: 'administrator',
    body: SetHostFence,
    response: Host,
    status: 200,
  }),

  removeHostFence: route({
    method: 'DELETE',
    path: '/v1/hosts/{host}/fence',
    summary: 'Remove the fence devices of a host, or those of one level',
    group: 'hosts',
    role: 'administrator',
    query: Strict({ level: Type.Optional(Type.Integer({ minimum: 1, maximum: 8 })) }),
    response: Host,
    status: 200,
  }),

  fenceHost: route({
    method: 'POST',
    path: '/v1/hosts/{host}/fence',
    summary: 'Switch a host off by its fence devices, now; its VMs are started elsewhere',
    group: 'hosts',
    role: 'administrator',
    body: FenceHost,
    response: Task,
    status: 202,
  }),

  testHostFence: route({
    method: 'POST',
    path: '/v1/hosts/{host}/fence/test',
    summary: 'Ask every fence device of a host for its status',
    group: 'hosts',
    role: 'operator',
    body: EmptyBody,
    response: FenceTest,
    status: 200,
  }),

  cycleHostFence: route({
    method: 'POST',
    path: '/v1/hosts/{host}/fence/cycle',
    summary: 'Try the fence devices of a host in maintenance: off, and on again',
    group: 'hosts',
    role: 'administrator',
    body: EmptyBody,
    response: Task,
    status: 202,
  }),

  getFencing: route({
    method: 'GET',
    path: '/v1/fencing',
    summary: 'When lost hosts are fenced by themselves',
    group: 'cluster',
    role: 'reader',
    response: FencingSettings,
    status: 200,
  }),

  changeFencing: route({
    method: 'PATCH',
    path: '/v1/fencing',
    summary: 'Change when lost hosts are fenced by themselves',
    group: 'cluster',
    role: 'administrator',
    body: ChangeFencing,
    response: FencingSettings,
    status: 200,
  }),
} as const
