/** Why no host can take a VM that should be started again, in one sentence that says what is missing. Pure. */
import type { DatastoreId } from '../../base/ids.ts'
import { hostsReaching, imagesOf, type ClusterView, type VmView } from './cluster-view.ts'
import { describeRefusals, place, type HostRefusal } from './placement.ts'

export interface NoHostReason {
  readonly code: 'no-host' | 'storage' | 'rule'
  readonly why: string
}

export function noHostReason(cluster: ClusterView, vm: VmView, refusals: readonly HostRefusal[]): NoHostReason {
  const lost = datastoresOf(cluster, vm).filter((id) => hostsReaching(cluster, id).length === 0)
  if (lost.length > 0) {
    const names = lost.map((id) => cluster.datastores.find((each) => each.id === id)?.name ?? id).join(', ')
    return { code: 'storage', why: `its storage is on no connected host: ${names}` }
  }
  if (place(cluster, { vm: vm.id, spec: vm.spec, ignoresRules: true }).ok) {
    return { code: 'rule', why: `a rule forbids it every host that has room: ${wordsOf(refusals, 'rule')}` }
  }
  const full = refusals.filter(({ reasons }) => reasons.some(({ code }) => code === 'memory'))
  if (full.length > 0) return { code: 'no-host', why: `no host has room for it: ${describeShort(refusals)}` }
  return { code: 'no-host', why: `no host can take it: ${describeShort(refusals)}` }
}

function datastoresOf(cluster: ClusterView, { spec }: VmView): DatastoreId[] {
  const images = imagesOf(spec).flatMap((id) => cluster.images.find((image) => image.id === id)?.datastore ?? [])
  const nvram = spec.nvram === null ? [] : [spec.nvram.datastore]
  return [...new Set([...spec.disks.map((disk) => disk.datastore), ...nvram, ...images])]
}

function wordsOf(refusals: readonly HostRefusal[], code: string): string {
  const said = refusals.flatMap(({ reasons }) =>
    reasons.filter((each) => each.code === code).map((each) => each.message),
  )
  return shortened(said)
}

function describeShort(refusals: readonly HostRefusal[]): string {
  return refusals.length === 0 ? describeRefusals([]) : shortened(refusals.map((each) => describeRefusals([each])))
}

/** In a large cluster the same is said of many hosts. */
function shortened(said: readonly string[]): string {
  const shown = said.slice(0, 4).join('; ')
  return said.length > 4 ? `${shown}; and ${said.length - 4} hosts more` : shown
}
