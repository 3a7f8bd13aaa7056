/** A manager over the store in memory with fake hosts that join it directly, behind a server without TLS. */
import type { FastifyInstance } from 'fastify'
import type { Clock } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { Files } from '../../base/files.ts'
import type { HostId } from '../../base/ids.ts'
import { silentLogger } from '../../base/log.ts'
import type { Processes } from '../../base/processes.ts'
import type { Random } from '../../base/random.ts'
import type { Vm } from '../../contracts/inventory.ts'
import type { CallContext } from '../../manager/app/api.ts'
import { Manager, type ManagerOptions } from '../../manager/app/manager.ts'
import { FakeHost } from '../../manager/app/testing/fake-hosts.ts'
import { createServer } from '../rest/server.ts'

export interface TestPorts {
  readonly clock: Clock
  readonly files: Files
  readonly processes: Processes
  readonly random: Random
}

const root = `${import.meta.dirname}/../../..`

export class TestManager implements AsyncDisposable {
  readonly manager: Manager
  readonly server: FastifyInstance
  readonly hosts: ReadonlyMap<HostId, FakeHost>
  readonly #hosts: Map<HostId, FakeHost>
  /** What an administrator's call is made with. */
  readonly context: CallContext = {
    caller: { name: 'a test', role: 'administrator', id: 'test' },
    signal: new AbortController().signal,
  }

  private constructor(manager: Manager, server: FastifyInstance, hosts: Map<HostId, FakeHost>) {
    this.manager = manager
    this.server = server
    this.hosts = hosts
    this.#hosts = hosts
  }

  static async open(ports: TestPorts, store: ManagerOptions['store']): Promise<TestManager> {
    const hosts = new Map<HostId, FakeHost>()
    const agents: ManagerOptions['agents'] = (record) => {
      const host = hosts.get(record.id)
      if (host === undefined) throw new HoldfastError('unreachable', 'no such fake host')
      return host.agent
    }
    const authority = { ca: '', sign: async () => Promise.reject(new Error('no certificates here')) }
    const { clock, random } = ports
    const options = { store, clock, random, logger: silentLogger, authority, agents, version: '0.0.0' }
    const manager = await Manager.open(options)
    const server = await createServer({
      ...{ manager, clock, logger: silentLogger },
      web: {
        ...{ files: ports.files, processes: ports.processes, nodePath: process.execPath, webDirectory: `${root}/web` },
        ...{ novncDirectory: `${root}/node_modules/@novnc/novnc`, openApiPath: `${root}/docs/api/openapi.json` },
      },
    })
    return new TestManager(manager, server, hosts)
  }

  /** Puts a host into the inventory as a join would, and lets it report. */
  async addHost(store: ManagerOptions['store'], name: string): Promise<FakeHost> {
    const id = (await store.nextId('host')) as HostId
    const cluster = (await store.list('cluster')).items[0]?.value
    if (cluster === undefined) throw new Error('the store has no cluster')
    const addresses = { management: '127.0.0.1', storage: '127.0.0.1', guests: '127.0.0.1' }
    await store.commit({
      changes: [
        {
          ...{ do: 'create', kind: 'host' },
          value: {
            ...{ id, uuid: id, name, created: cluster.created, v: 1, cluster: cluster.id, addresses, agentPort: 1 },
            ...{ tlsName: `${id}.holdfast`, certificateFingerprint: id, maintenance: 'off', confirmedOff: false },
            facts: null,
          },
        },
      ],
      events: [],
    })
    const { reports, runRecords } = this.manager
    const host = new FakeHost(id, {
      report: (report) => reports.take(id, report),
      transition: (request) => runRecords.transition(id, request),
    })
    this.#hosts.set(id, host)
    await host.report()
    return host
  }

  /** A VM without disks and NICs that runs. */
  async addVm(name: string): Promise<Vm> {
    const { api, tasks } = this.manager
    const body = { name, memoryMiB: 64, nics: [], start: true }
    const task = await tasks.get((await api.createVm({ params: {}, body }, this.context)).id, 20)
    if (task.state !== 'done') throw new Error(`no VM was made: ${JSON.stringify(task.problem)}`)
    const found = (await api.listVms({ params: {}, query: { name } }, this.context)).items[0]
    if (found === undefined) throw new Error('the VM is not listed')
    return found
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server.close()
    await this.manager[Symbol.asyncDispose]()
  }
}
