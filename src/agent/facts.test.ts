import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Processes } from '../base/processes.ts'
import type { Hypervisor, HypervisorFacts } from '../hypervisor/hypervisor.ts'
import { MemoryFiles } from '../sim/memory-files.ts'
import { hostFacts, type FactsDeps } from './facts.ts'
import { groundOf, proofPath, type SelftestProof } from './protect/selftest/proof.ts'
import type { TrackerChoice } from './protect/tracker-choice.ts'

const qemu: HypervisorFacts = {
  ...{ version: '10.0.2', package: 'Debian 1:10.0.2+ds-2', cpuModels: [], machineTypes: [] },
  accelerator: { kind: 'kvm', reason: 'the probe ran a guest in long mode under KVM' },
}

async function host(tracker: TrackerChoice): Promise<FactsDeps & { readonly files: MemoryFiles }> {
  const files = new MemoryFiles()
  const texts = {
    '/proc/cpuinfo': 'processor\t: 0\nmodel name\t: AMD EPYC 7443P\nflags\t\t: fpu svm\n',
    '/proc/meminfo': 'MemTotal:       1048576 kB\n',
    '/proc/sys/kernel/hostname': 'one\n',
    '/proc/sys/kernel/osrelease': '6.1.0-40-amd64\n',
  }
  for (const folder of ['/proc/sys/kernel', '/data']) await files.makeDirectory(folder)
  for (const [path, text] of Object.entries(texts)) await files.replace(path, text)
  return {
    files,
    ...{ agentVersion: '1.0.0', runRoot: '/run/vms', dataDirectory: '/data' },
    addresses: { management: '192.0.2.1', storage: '192.0.2.1', guests: '192.0.2.1' },
    processes: { run: () => Promise.reject(new Error('there is no such program')) } as unknown as Processes,
    hypervisor: { facts: () => Promise.resolve(qemu) } as Hypervisor,
    tracker: () => Promise.resolve(tracker),
  }
}

test('a host with KVM says that it has to prove itself, and that it has, without being started anew', async () => {
  const deps = await host({ kind: 'userfaultfd', reason: 'it was tried here' })
  assert.match((await hostFacts(deps)).protectionObstacle ?? '', /KVM.*holdfast ft selftest/)
  const ground = await groundOf(deps.files, qemu, 'userfaultfd')
  const proof: SelftestProof = { v: 1, ground, takeovers: 1000, epochs: 5000, passedAt: '2026-05-01T10:00:00.000Z' }
  await deps.files.replace(proofPath('/data'), JSON.stringify(proof))
  assert.equal((await hostFacts(deps)).protectionObstacle, null)
  await deps.files.replace('/proc/sys/kernel/osrelease', '6.1.0-41-amd64\n')
  assert.match((await hostFacts(deps)).protectionObstacle ?? '', /proved with kernel 6\.1\.0-40-amd64 \(now 6\.1\.0-41/)
})

test('an old kernel is no obstacle where a tracker was seen to work, and which one is said', async () => {
  const tracker = { kind: 'comparison', reason: 'it was tried here; userfaultfd does not work: errno 22' } as const
  const deps = await host(tracker)
  const tcg: HypervisorFacts = { ...qemu, accelerator: { kind: 'tcg', reason: 'this host has no /dev/kvm' } }
  const facts = await hostFacts({ ...deps, hypervisor: { facts: () => Promise.resolve(tcg) } as Hypervisor })
  assert.equal(facts.protectionObstacle, null)
  assert.deepEqual(facts.writeTracker, tracker)
})
