/** Requests to the manager that serves this page. The session is a cookie that no script can read. */
import type { Alarm } from '../../src/contracts/alarms.ts'
import type { ClusterInfo, Host, Task, Vm } from '../../src/contracts/inventory.ts'
import type { MigratePrecheck } from '../../src/contracts/vm-requests.ts'

export class ApiError extends Error {
  readonly status: number
  readonly code: string

  constructor(status: number, code: string, message: string) {
    super(message)
    this.status = status
    this.code = code
  }
}

interface Page<T> {
  readonly items: T[]
  readonly revision: number
}

async function send<T>(method: string, path: string, body?: unknown): Promise<T> {
  const headers: Record<string, string> = { accept: 'application/json' }
  if (body !== undefined) headers['content-type'] = 'application/json'
  if (method === 'POST') headers['idempotency-key'] = crypto.randomUUID()
  const response = await fetch(path, {
    method,
    headers,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = await response.text()
  const answer: unknown = text === '' ? null : JSON.parse(text)
  if (response.ok) return answer as T
  const problem = answer as { code?: string; detail?: string; mend?: string } | null
  const words = [problem?.detail ?? `The manager answered ${response.status}`, problem?.mend].filter(Boolean)
  throw new ApiError(response.status, problem?.code ?? 'internal', words.join(' – '))
}

const id = encodeURIComponent

export const api = {
  signIn: (code: string) => send<null>('POST', '/v1/session', { code }),
  signOut: () => send<null>('DELETE', '/v1/session'),
  cluster: () => send<ClusterInfo>('GET', '/v1/cluster'),
  hosts: () => send<Page<Host>>('GET', '/v1/hosts'),
  vms: () => send<Page<Vm>>('GET', '/v1/vms'),
  alarms: () => send<Page<Alarm>>('GET', '/v1/alarms'),
  acknowledge: (alarm: string) => send<Alarm>('POST', `/v1/alarms/${id(alarm)}/acknowledge`, {}),
  clear: (alarm: string) => send<Alarm>('POST', `/v1/alarms/${id(alarm)}/clear`, {}),
  tasks: () => send<Page<Task>>('GET', '/v1/tasks?limit=12'),
  start: (vm: string) => send<Task>('POST', `/v1/vms/${id(vm)}/start`, {}),
  shutdown: (vm: string) => send<Task>('POST', `/v1/vms/${id(vm)}/shutdown`, {}),
  stop: (vm: string) => send<Task>('POST', `/v1/vms/${id(vm)}/stop`, {}),
  resume: (vm: string) => send<Task>('POST', `/v1/vms/${id(vm)}/resume`, {}),
  migrate: (vm: string, host: string) => send<Task>('POST', `/v1/vms/${id(vm)}/migrate`, { host }),
  precheck: (vm: string, host: string) => send<MigratePrecheck>('POST', `/v1/vms/${id(vm)}/migrate/precheck`, { host }),
  cancel: (task: string) => send<Task>('POST', `/v1/tasks/${id(task)}/cancel`, {}),
  ticket: (vm: string) => send<{ url: string }>('POST', `/v1/vms/${id(vm)}/tickets`, { kind: 'vnc' }),
}
