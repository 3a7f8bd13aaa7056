import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { DatastoreId, HostId, RuleId, VmId } from '../../base/ids.ts'
import { admissionProblem, admissionReport, withoutHost } from './admission.ts'
import { aCluster, aFacts, aHost, aRun, aVm } from './cluster-fixture.ts'
import type { ClusterView, RuleView, VmView } from './cluster-view.ts'
import { withStarting } from './host-load.ts'
import { place } from './placement.ts'

/** Each host has 8 GiB, of which 7 are for VMs. */
const many = (count: number, on: string, memoryMiB: number, from = 1): VmView[] =>
  Array.from({ length: count }, (_each, at) => aVm(from + at, on, { memoryMiB }))
const oneFailure = { policy: 'hosts', hosts: 1 } as const
const diskOn = (datastore: string) => ({
  disks: [
    {
      key: 1,
      disk: 'disk-1',
      datastore: datastore as DatastoreId,
      format: 'qcow2',
      bus: 'virtio',
      sizeBytes: 1,
      slot: '3',
    } as never,
  ],
})

test('a cluster survives the failures for which the rest has room', () => {
  const report = (vms: VmView[]) => admissionReport(aCluster({ vms }))
  assert.deepEqual([report([]).survives, report([]).capacityMiB, report([]).isKept], [2, 3 * 7168, true])
  assert.equal(report(many(7, 'host-1', 1024)).survives, 2, 'seven go to either of the other two')
  const two = [...many(7, 'host-1', 1024), ...many(1, 'host-2', 1024, 20)]
  assert.deepEqual([report(two).survives, report(two).worst?.hosts.length], [1, 2])
  const full = [...many(7, 'host-1', 1024), ...many(4, 'host-2', 1024, 20), ...many(4, 'host-3', 1024, 30)]
  assert.equal(report(full).survives, 0)
  assert.match(
    report(full).worst?.problem ?? '',
    /if h1 failed, VMs with 7 GiB would have to start elsewhere, 6 GiB are free/,
  )
  assert.deepEqual(
    report(full).each.map(({ fits }) => fits),
    [false, false, false],
  )
})

test('VMs of priority disabled take room and are not started again', () => {
  const vms = [...many(7, 'host-1', 1024), ...many(4, 'host-2', 1024, 20), ...many(4, 'host-3', 1024, 30)]
  const disabled = vms.map((vm) => (vm.run.host === 'host-1' ? { ...vm, restartPriority: 'disabled' as const } : vm))
  const fits = admissionReport(aCluster({ vms: disabled })).each.map((each) => each.fits)
  assert.deepEqual(fits, [true, false, false])
})

test('VMs that only one host can run, for their storage or a rule, are named and keep no room', () => {
  const vms = [aVm(1, 'host-1', { memoryMiB: 6000, ...diskOn('ds-2') }), ...many(1, 'host-2', 6000, 2)]
  const report = admissionReport(aCluster({ vms, hosts: [aHost(1), aHost(2), aHost(3)] }), oneFailure)
  assert.deepEqual([report.isKept, report.bound.map(({ name }) => name)], [true, ['v1']])
  const apart: RuleView = {
    ...{ id: 'rule-1' as RuleId, name: 'apart', kind: 'apart', strength: 'must', hosts: [] },
    vms: [1, 2, 3].map((n) => `vm-${n}` as VmId),
  }
  const spread = [1, 2, 3].map((n) => aVm(n, `host-${n}`))
  assert.equal(admissionReport(aCluster({ vms: spread, rules: [apart] })).bound.length, 3)
})

test('powering on is refused with what is kept and what would be, and so is emptying a host', () => {
  const vms = [
    ...many(6, 'host-1', 1024),
    ...many(4, 'host-2', 1024, 20),
    ...many(4, 'host-3', 1024, 30),
    aVm(99, null, { memoryMiB: 1024 }),
  ]
  const cluster = aCluster({ vms })
  assert.equal(admissionProblem(cluster, oneFailure), undefined)
  const problem = admissionProblem(withStarting(cluster, 'vm-99' as VmId, 'host-1' as HostId), oneFailure)
  assert.match(problem ?? '', /room for 1 host failure is to be kept: if h1 failed, VMs with 7 GiB .* 6 GiB are free/)
  assert.match(admissionProblem(withoutHost(cluster, 'host-1' as HostId), oneFailure) ?? '', /room for 1 host failure/)
  assert.match(admissionProblem(cluster, { policy: 'hosts', hosts: 3 }) ?? '', /3 hosts take VMs/)
  assert.equal(admissionProblem(cluster, { policy: 'percent', percent: 30 }), undefined)
  assert.match(
    admissionProblem(cluster, { policy: 'percent', percent: 40 }) ?? '',
    /40 % of the memory \(8\.4 GiB of 21 GiB\)/,
  )
  assert.equal(admissionProblem(cluster), undefined)
})

const sizes = [256, 512, 768, 1024, 2048, 3000]
const anyVm = fc.record({
  size: fc.constantFrom(...sizes),
  on: fc.nat(4),
  storage: fc.constantFrom('all', 'all', 'some', 'local'),
  isDisabled: fc.boolean(),
})

/** Hosts 1 to 5; ds-1 is everywhere, ds-20 on the first three. */
function drawn(vms: readonly { size: number; on: number; storage: string; isDisabled: boolean }[]): ClusterView {
  const seen = { path: '/', isUsable: true, problem: null, totalBytes: 100e9, freeBytes: 50e9 }
  const hosts = [1, 2, 3, 4, 5].map((n) =>
    aHost(n, {
      datastores: ['ds-1', 'ds-20', `ds-${n + 1}`].map((datastore) => ({
        datastore: datastore as DatastoreId,
        ...seen,
      })),
    }),
  )
  const some = {
    id: 'ds-20' as DatastoreId,
    name: 'some',
    isShared: true,
    path: '/x',
    hosts: [1, 2, 3].map((n) => `host-${n}` as HostId),
  }
  const views: VmView[] = []
  for (const [at, { size, on, storage, isDisabled }] of vms.entries()) {
    const host = storage === 'some' ? (on % 3) + 1 : storage === 'local' ? (on % 3) + 1 : on + 1
    const datastore = storage === 'some' ? 'ds-20' : storage === 'local' ? `ds-${host + 1}` : 'ds-1'
    const held = views.filter((vm) => vm.run.host === `host-${host}`).reduce((sum, vm) => sum + vm.spec.memoryMiB, 0)
    if (held + size > 7168) continue
    const view = aVm(at + 1, `host-${host}`, { memoryMiB: size, ...diskOn(datastore) })
    views.push({ ...view, restartPriority: isDisabled && at % 3 === 0 ? 'disabled' : 'medium' })
  }
  return aCluster({ hosts, vms: views, datastores: [...aCluster().datastores, some] })
}

/** Loses these hosts and starts what ran there, one after the other in this order, as placement says. Those without room. */
function withoutRoom(
  cluster: ClusterView,
  failed: readonly HostId[],
  order: readonly number[],
  bound: ReadonlySet<string>,
): string[] {
  const hosts = cluster.hosts.map((host) =>
    failed.includes(host.id) ? { ...host, state: 'confirmed-off' as const } : host,
  )
  const isLost = (vm: VmView): boolean => failed.includes(vm.run.host!)
  const vms = cluster.vms.map((vm) => (isLost(vm) ? { ...vm, run: aRun({ vm: vm.id, cause: 'host-lost' }) } : vm))
  let now: ClusterView = { ...cluster, hosts, vms }
  const lost = cluster.vms.filter((vm) => isLost(vm) && vm.restartPriority !== 'disabled' && !bound.has(vm.id))
  const shuffled = lost.map((vm, at) => ({ vm, key: order[at % order.length] ?? 0 })).sort((a, b) => a.key - b.key)
  return shuffled.flatMap(({ vm }) => {
    const placement = place(now, { vm: vm.id, spec: vm.spec })
    if (placement.ok) now = withStarting(now, vm.id, placement.host)
    return placement.ok ? [] : [`${vm.name} (${vm.spec.memoryMiB})`]
  })
}

test('what admission control promises, placement keeps: whichever hosts fail, in whatever order VMs are started', () => {
  let promises = 0
  fc.assert(
    fc.property(
      fc.array(anyVm, { minLength: 4, maxLength: 30 }),
      fc.array(fc.nat(99), { minLength: 5, maxLength: 5 }),
      (vms, order) => {
        const cluster = drawn(vms)
        const { survives, bound } = admissionReport(cluster)
        const ids = new Set<string>(bound.map((each) => each.vm))
        for (const failed of combinations(
          cluster.hosts.map((host) => host.id),
          Math.min(survives, 2),
        )) {
          // Storage that is on failed hosts alone is no matter of room.
          const reaching = new Set(
            cluster.vms.filter((vm) => vm.spec.disks[0]?.datastore === 'ds-20').map((vm) => vm.id),
          )
          if (['host-1', 'host-2', 'host-3'].every((host) => failed.includes(host as HostId)))
            for (const vm of reaching) ids.add(vm)
          promises += 1
          assert.deepEqual(withoutRoom(cluster, failed, order, ids), [], `after the loss of ${failed.join()}`)
        }
      },
    ),
    { numRuns: 400 },
  )
  assert.ok(promises > 1000, `${promises} promises were tried`)
})

function combinations(hosts: readonly HostId[], count: number): HostId[][] {
  if (count === 0) return []
  if (count === 1) return hosts.map((host) => [host])
  return hosts.flatMap((host, at) => combinations(hosts.slice(at + 1), count - 1).map((rest) => [host, ...rest]))
}

test('for VMs of one size it is exact: one VM more than it allows finds no room', () => {
  for (let each = 1; each <= 7; each++) {
    const vms = [1, 2, 3].flatMap((host) => many(each, `host-${host}`, 1024, host * 100))
    const survives = admissionReport(aCluster({ vms })).survives
    const fits = withoutRoom(aCluster({ vms }), ['host-1' as HostId], [0], new Set()).length === 0
    assert.equal(survives >= 1, fits, `${each} on each host`)
  }
})

test('64 hosts with 10,000 VMs are judged for four failures in a moment', () => {
  const hosts = Array.from({ length: 64 }, (_each, at) => aHost(at + 1, { facts: { ...aFacts, memoryMiB: 262_144 } }))
  const vms = Array.from({ length: 10_000 }, (_each, at) =>
    aVm(at + 1, `host-${(at % 64) + 1}`, { memoryMiB: sizes[at % sizes.length]!, ...diskOn('ds-1') }),
  )
  const cluster = aCluster({ hosts, vms })
  assert.equal(admissionReport(cluster).survives, 4)
  const before = process.cpuUsage()
  assert.equal(admissionProblem({ ...cluster, vms: [...vms] }, { policy: 'hosts', hosts: 4 }), undefined)
  const { user, system } = process.cpuUsage(before)
  const ms = (user + system) / 1000
  assert.ok(ms < 500, `it took ${ms.toFixed(0)} ms of CPU`)
})
