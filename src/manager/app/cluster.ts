/** The cluster as a whole. */
import { HoldfastError } from '../../base/errors.ts'
import type { ClusterInfo } from '../../contracts/inventory.ts'
import { defaultRestartSettings } from '../../contracts/restart-words.ts'
import type { AdmissionReport, AdmissionSettings, ChangeCluster } from '../../contracts/restart.ts'
import { admissionOff, admissionReport } from '../domain/admission.ts'
import type { ClusterRecord } from '../store/records.ts'
import type { AppContext, Caller } from './context.ts'
import { need, newEvent, subjectOf, write } from './write.ts'

export class Cluster {
  readonly #context: AppContext
  readonly #version: string

  constructor(context: AppContext, version: string) {
    this.#context = context
    this.#version = version
  }

  /** Throws `invalid-request` for a policy without its figure, or a figure without its policy. */
  async change(body: ChangeCluster, caller: Caller): Promise<ClusterInfo> {
    const { store, mirror } = this.#context
    const { admission } = body
    if (admission !== undefined) mustFit(admission)
    await write(store, async () => {
      const { value, revision } = await need(store, 'cluster', mirror.list('cluster')[0]?.id ?? '')
      const restart = { ...value.restart, ...body.restart }
      const next: ClusterRecord = { ...value, restart, ...(admission === undefined ? {} : { admission }) }
      const event = newEvent(
        'cluster.changed',
        subjectOf('cluster', next),
        'The settings of the cluster were changed',
        {
          by: caller.name,
        },
      )
      return {
        changes: [{ do: 'update', kind: 'cluster', value: next, expected: revision }],
        events: [event],
        value: null,
      }
    })
    return this.get()
  }

  async admission(): Promise<AdmissionReport> {
    const cluster = await this.#context.cluster()
    return admissionReport(cluster, cluster.admission)
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
      restart: { ...defaultRestartSettings, ...cluster.restart },
      admission: cluster.admission ?? admissionOff,
    }
  }
}

function mustFit({ policy, hosts, percent }: AdmissionSettings): void {
  const isRight = (hosts !== undefined) === (policy === 'hosts') && (percent !== undefined) === (policy === 'percent')
  if (isRight) return
  throw new HoldfastError('invalid-request', '`hosts` goes with the policy hosts, `percent` with the policy percent', {
    field: 'admission',
  })
}
