/** Routes of the cluster, its tasks and its events. */
import { ClusterInfo, Event, Task } from '../inventory.ts'
import { AdmissionReport, ChangeCluster } from '../restart.ts'
import { Count, Ref, Strict, Type } from '../schema.ts'
import { EmptyBody, Page, paging, route } from './row.ts'

export const clusterRoutes = {
  getCluster: route({
    method: 'GET',
    path: '/v1/cluster',
    summary: 'The cluster',
    group: 'cluster',
    role: 'reader',
    response: ClusterInfo,
    status: 200,
  }),

  changeCluster: route({
    method: 'PATCH',
    path: '/v1/cluster',
    summary: 'Change how VMs are started again after the loss of a host, and the room that is kept for it',
    group: 'cluster',
    role: 'administrator',
    body: ChangeCluster,
    response: ClusterInfo,
    status: 200,
  }),

  getAdmission: route({
    method: 'GET',
    path: '/v1/cluster/admission',
    summary: 'Capacity, what is used and kept, and how many host failures the cluster survives now',
    group: 'cluster',
    role: 'reader',
    response: AdmissionReport,
    status: 200,
  }),

  upgradeCluster: route({
    method: 'POST',
    path: '/v1/cluster/upgrade',
    summary:
      'Renew hosts one after the other: VMs move away, the host is renewed by its own program or by hand, they move back',
    group: 'cluster',
    role: 'administrator',
    body: Strict({
      hosts: Type.Optional(
        Type.Array(Ref, {
          minItems: 1,
          description: 'these, in this order; default: all, those with the fewest VMs first',
        }),
      ),
      byHand: Type.Optional(Type.Boolean({ description: 'wait until a person has renewed each host' })),
      hostTimeoutSeconds: Type.Optional(
        Type.Integer({ minimum: 60, maximum: 86_400, description: 'for the renewal of one host; default 1800' }),
      ),
    }),
    response: Task,
    status: 202,
  }),

  listEvents: route({
    method: 'GET',
    path: '/v1/events',
    summary: 'Past events, oldest first',
    group: 'events',
    role: 'reader',
    query: Strict({ ...paging, afterRevision: Type.Optional(Count) }),
    response: Page(Event),
    status: 200,
  }),

  listTasks: route({
    method: 'GET',
    path: '/v1/tasks',
    summary: 'List tasks, newest first',
    group: 'tasks',
    role: 'reader',
    query: Strict({ ...paging, state: Type.Optional(Type.String()) }),
    response: Page(Task),
    status: 200,
  }),

  getTask: route({
    method: 'GET',
    path: '/v1/tasks/{task}',
    summary: 'Show a task; with `waitSeconds`, once it has ended or the time is over',
    group: 'tasks',
    role: 'reader',
    query: Strict({ waitSeconds: Type.Optional(Type.Integer({ minimum: 0, maximum: 60 })) }),
    response: Task,
    status: 200,
  }),

  cancelTask: route({
    method: 'POST',
    path: '/v1/tasks/{task}/cancel',
    summary: 'Cancel a task; refused past its point of no return',
    group: 'tasks',
    role: 'operator',
    body: EmptyBody,
    response: Task,
    status: 202,
  }),
} as const
