/** The cluster as a whole. */
import { HoldfastError } from '../../base/errors.ts'
import type { ClusterInfo } from '../../contracts/inventory.ts'
import type { AppContext } from './context.ts'

export class Cluster {
  readonly #context: AppContext
  readonly #version: string

  constructor(context: AppContext, version: string) {
    this.#context = context
    this.#version = version
  }

  async get(): Promise<ClusterInfo> {
    const mirror = await this.#context.mirror.fresh()
    const cluster = mirror.list('cluster')[0]
    if (cluster === undefined) throw new HoldfastError('internal', 'the inventory has no cluster')
    const running = mirror.list('run').filter(({ run }) => run.phase === 'running' || run.phase === 'moving')
    return {
      id: cluster.id,
      uuid: cluster.uuid,
      name: cluster.name,
      version: this.#version,
      incarnation: cluster.incarnation,
      revision: mirror.revision,
      datacenter: cluster.datacenter,
      cpuBaseline: cluster.cpuBaseline,
      counts: {
        hosts: mirror.list('host').length,
        vms: mirror.list('vm').length,
        running: running.length,
        tasks: mirror.list('task').filter((task) => task.ended === null).length,
      },
    }
  }
}
