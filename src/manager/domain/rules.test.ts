import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { HostId, RuleId, VmId } from '../../base/ids.ts'
import { aCluster, aHost, aVm } from './cluster-fixture.ts'
import type { ClusterView, RuleView, VmView } from './cluster-view.ts'
import { precheckMigration } from './migrate-precheck.ts'
import { place } from './placement.ts'
import { noHostReason } from './restart-reason.ts'
import { ruleContradiction, ruleWarnings } from './rule-check.ts'

let numbers = 0
function rule(name: string, kind: RuleView['kind'], vms: number[], change: Partial<RuleView> = {}): RuleView {
  const ids = vms.map((vm) => `vm-${vm}` as VmId)
  return { id: `rule-${++numbers}` as RuleId, name, kind, strength: 'must', vms: ids, hosts: [], ...change }
}
const hosts = (...ids: number[]): HostId[] => ids.map((id) => `host-${id}` as HostId)

function placed(vms: VmView[], rules: RuleView[], change: Partial<ClusterView> = {}): string {
  const cluster = aCluster({ vms, rules, ...change })
  const vm = vms[0]!
  const placement = place(cluster, { vm: vm.id, spec: vm.spec })
  return placement.ok ? placement.host : placement.refusals.map((each) => each.reasons[0]?.message).join('; ')
}

test('VMs that must be together, apart, on hosts or not on hosts are placed so', () => {
  const vms = [aVm(1, null), aVm(2, 'host-3', { memoryMiB: 4096 })]
  assert.equal(placed(vms, []), 'host-1')
  assert.equal(placed(vms, [rule('pair', 'together', [1, 2])]), 'host-3')
  assert.equal(placed([aVm(1, null), aVm(2, 'host-1'), aVm(3, 'host-2')], [rule('a', 'apart', [1, 2, 3])]), 'host-3')
  assert.equal(placed(vms, [rule('on', 'on-hosts', [1], { hosts: hosts(3) })]), 'host-3')
  assert.equal(placed(vms, [rule('not', 'not-on-hosts', [1], { hosts: hosts(1) })]), 'host-2')
})

test('a refusal names the rule, and `should` only prefers', () => {
  const vms = [aVm(1, null), aVm(2, 'host-1'), aVm(3, 'host-2'), aVm(4, 'host-3')]
  assert.match(placed(vms, [rule('scattered', 'apart', [1, 2, 3, 4])]), /the rule scattered forbids h1: v2 is there/)
  const should = rule('better', 'on-hosts', [1], { strength: 'should', hosts: hosts(2) })
  assert.equal(placed(vms, [should]), 'host-2')
  assert.equal(placed(vms, [should], { hosts: [aHost(1), aHost(3)] }), 'host-1')
})

test('VMs that are together do not bind each other to a host that is emptied or lost', () => {
  const vms = [aVm(1, null), aVm(2, 'host-1')]
  const pair = [rule('pair', 'together', [1, 2])]
  assert.equal(placed(vms, pair, { hosts: [aHost(1, { maintenance: 'entering' }), aHost(2)] }), 'host-2')
  assert.equal(placed(vms, pair, { hosts: [aHost(1, { state: 'unreachable' }), aHost(2)] }), 'host-2')
})

test('the first of a group goes where all of it has room', () => {
  const vms = [
    aVm(1, null, { memoryMiB: 2048 }),
    aVm(2, null, { memoryMiB: 4096 }),
    aVm(3, 'host-1', { memoryMiB: 2048 }),
  ]
  const three = aVm(4, 'host-2', { memoryMiB: 3072, vcpus: 4 })
  const pair = [rule('pair', 'together', [1, 2])]
  assert.equal(placed([...vms, three], pair, { hosts: [aHost(1), aHost(2), aHost(3, { load1: 4 })] }), 'host-3')
})

test('a move that would break a rule is refused with its name, unless a person says to go all the same', () => {
  const [one, two] = [aVm(1, 'host-1'), aVm(2, 'host-2')]
  const cluster = aCluster({ vms: [one, two], rules: [rule('separate', 'apart', [1, 2])] })
  const wish = { vm: one, observation: null, host: 'host-2' as HostId, datastore: null }
  const checked = precheckMigration(cluster, wish)
  assert.ok(!checked.ok)
  assert.deepEqual(checked.reasons, [{ code: 'rule', message: 'the rule separate forbids h2: v2 is there' }])
  assert.ok(precheckMigration(cluster, { ...wish, ignoresRules: true }).ok)
  const anywhere = precheckMigration(cluster, { ...wish, host: null })
  assert.ok(anywhere.ok && anywhere.plan.target === 'host-3')
})

test('contradictions are refused with the names of the rules', () => {
  const rules = [rule('pair', 'together', [1, 2]), rule('trio', 'together', [2, 3])]
  const cluster = aCluster({ vms: [aVm(1, null), aVm(2, null), aVm(3, null)], rules })
  assert.match(
    ruleContradiction(cluster, rule('split', 'apart', [1, 3])) ?? '',
    /the rule split keeps v1 and v3 apart, and the rules trio, pair together keeps them together/,
  )
  assert.equal(ruleContradiction(cluster, rule('split', 'apart', [1, 3], { strength: 'should' })), undefined)
  const here = rule('here', 'on-hosts', [1], { hosts: hosts(1) })
  assert.match(
    ruleContradiction({ ...cluster, rules: [...rules, here] }, rule('there', 'on-hosts', [3], { hosts: hosts(2) })) ??
      '',
    /here.*there.*would leave no host for/,
  )
  assert.match(
    ruleContradiction(cluster, rule('gone', 'on-hosts', [1], { hosts: hosts(9) })) ?? '',
    /leave no host for v1/,
  )
  assert.match(ruleContradiction(cluster, rule('one', 'apart', [1])) ?? '', /two VMs or more/)
})

test('what cannot be kept as things are is said, and what is broken', () => {
  const vms = [1, 2, 3, 4].map((n) => aVm(n, n < 3 ? 'host-1' : null))
  const cluster = aCluster({ vms })
  assert.match(ruleWarnings(cluster, rule('x', 'apart', [1, 2, 3, 4])).join('; '), /4 VMs are to be apart, and 3 hosts/)
  assert.match(ruleWarnings(cluster, rule('x', 'apart', [1, 2])).join('; '), /broken now by v2/)
})

test('why no host can take a VM says what is missing: storage, a rule, or room', () => {
  const why = (vm: VmView, change: Partial<ClusterView>): string => {
    const cluster = aCluster({ vms: [vm], ...change })
    const placement = place(cluster, { vm: vm.id, spec: vm.spec })
    assert.ok(!placement.ok)
    const { code, why: words } = noHostReason(cluster, vm, placement.refusals)
    return `${code}: ${words}`
  }
  const disk = { key: 1, disk: 'disk-1', datastore: 'ds-2', format: 'qcow2', bus: 'virtio', sizeBytes: 1, slot: '03' }
  const onLocal = aVm(1, null, { disks: [disk as never] })
  assert.equal(why(onLocal, { hosts: [aHost(2)] }), 'storage: its storage is on no connected host: local1')
  assert.match(
    why(aVm(1, null), { rules: [rule('far', 'on-hosts', [1], { hosts: hosts(9) })] }),
    /^rule: .*the rule far/,
  )
  assert.match(why(aVm(1, null, { memoryMiB: 9000 }), {}), /^no-host: no host has room for it: h1 has 7 GiB/)
})
