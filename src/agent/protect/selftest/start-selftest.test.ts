import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HoldfastError } from '../../../base/errors.ts'
import type { ProcessMemories, TrackerTrial } from '../../../base/process-memory.ts'
import type { Processes, RunOptions } from '../../../base/processes.ts'
import type { Hypervisor, HypervisorFacts } from '../../../hypervisor/hypervisor.ts'
import { MemoryFiles } from '../../../sim/memory-files.ts'
import { VirtualClock } from '../../../sim/virtual-clock.ts'
import type { SelftestFigures, SelftestLine, SelftestPlan } from './plan.ts'
import { groundOf, proofProblem, readProof } from './proof.ts'
import { startSelftest, type SelftestOptions, type SelftestPorts } from './start-selftest.ts'

const facts: HypervisorFacts = {
  ...{ version: '10.0.2', package: 'Debian 1:10.0.2+ds-2', cpuModels: ['qemu64'] },
  machineTypes: ['pc-i440fx-9.2', 'pc-q35-10.0', 'pc-i440fx-10.0'],
  accelerator: { kind: 'kvm', reason: 'the probe ran' },
}
const trials: TrackerTrial[] = [
  { kind: 'userfaultfd', problem: 'errno 22' },
  { kind: 'soft-dirty', problem: null },
]
const figures = (takeovers: number): SelftestFigures => ({
  ...{ takeovers, epochs: takeovers * 20, medianSilenceMs: 80, longestSilenceMs: 200 },
  ...{ pauseMs: 9, ticks: 1, lostFrames: 0 },
})
const never = new AbortController().signal

interface World {
  readonly ports: SelftestPorts
  readonly files: MemoryFiles
  readonly options: SelftestOptions
  readonly ran: SelftestPlan[]
  readonly progress: number[]
}

/** A host whose self-test says these lines. */
async function world(says: (plan: SelftestPlan, options: RunOptions) => readonly SelftestLine[]): Promise<World> {
  const files = new MemoryFiles()
  for (const [path, text] of [
    ['/proc/sys/kernel/osrelease', '6.12.38+deb13-amd64\n'],
    ['/proc/cpuinfo', 'model name\t: AMD EPYC 7443P\n'],
  ] as const) {
    await files.makeDirectory(path.slice(0, path.lastIndexOf('/')))
    await files.replace(path, text)
  }
  const [ran, progress]: [SelftestPlan[], number[]] = [[], []]
  const run: Processes['run'] = async (_command, args, options = {}) => {
    const plan = JSON.parse(await files.readText(args.at(-1) ?? '')) as SelftestPlan
    ran.push(plan)
    const text = says(plan, options).map((line) => `${JSON.stringify(line)}\n`)
    // As a pipe brings it: in pieces that are no lines.
    for (const piece of text.join('').match(/[^]{1,50}/g) ?? []) options.onStdout?.(piece)
    options.signal?.throwIfAborted()
    return { code: 0, stdout: '', stderr: text.length === 0 ? 'unshare failed: Operation not permitted' : '' }
  }
  return {
    ...{ files, ran, progress },
    ports: {
      ...{ clock: new VirtualClock(), files, processes: { run } as Processes },
      memories: { tryTrackers: () => Promise.resolve(trials) } as ProcessMemories,
      hypervisor: { facts: () => Promise.resolve(facts) } as Hypervisor,
    },
    options: {
      ...{ isRoot: true, takeovers: 1000, tracker: undefined, dataDirectory: '/data', folder: '/tmp/st' },
      ...{ program: ['node', 'main.ts'], onBegin: () => undefined },
      onProgress: (seen) => progress.push(seen.takeovers),
    },
  }
}

const passes = ({ takeovers }: SelftestPlan): SelftestLine[] => [
  { is: 'progress', figures: figures(1) },
  { is: 'progress', figures: figures(2) },
  { is: 'passed', figures: figures(takeovers) },
]

test('a thousand takeovers leave a proof for this host as it is, and nothing else', async () => {
  const { ports, options, files, ran, progress } = await world(passes)
  const report = await startSelftest(ports, options, never)
  assert.deepEqual(ran[0], {
    ...{ takeovers: 1000, folder: '/tmp/st', accelerator: 'kvm', tracker: 'soft-dirty' },
    machineType: 'pc-i440fx-10.0',
  })
  assert.deepEqual(progress, [1, 2])
  assert.equal(report.proof, '/data/ft-selftest.json')
  const proof = await readProof(files, '/data')
  assert.equal(proofProblem(proof, await groundOf(files, facts, 'soft-dirty')), null)
  assert.match(
    proofProblem(proof, await groundOf(files, { ...facts, version: '10.0.3' }, 'soft-dirty')) ?? '',
    /10\.0\.3/,
  )
  assert.equal(await files.stat('/tmp/st'), undefined)
  assert.deepEqual(await files.list('/data'), ['ft-selftest.json'])
})

test('fewer prove nothing, and leave an older proof as it is', async () => {
  const { ports, options, files } = await world(passes)
  await startSelftest(ports, options, never)
  const before = await files.readText('/data/ft-selftest.json')
  const { proof } = await startSelftest(ports, { ...options, takeovers: 999 }, never)
  assert.equal(proof, null)
  assert.equal(await files.readText('/data/ft-selftest.json'), before)
})

test('one that fails says why and after how many, leaves no proof, and keeps its logs', async () => {
  const failed = await world(() => [{ is: 'failed', why: 'the guest went back: it sent 3 after 7', takeovers: 17 }])
  await assert.rejects(startSelftest(failed.ports, failed.options, never), (thrown: HoldfastError) => {
    assert.match(thrown.message, /failed after 17 takeovers: the guest went back: it sent 3 after 7/)
    assert.match(String(thrown.details.mend), /\/tmp\/st/)
    return true
  })
  assert.equal(await readProof(failed.files, '/data'), undefined)
  assert.notEqual(await failed.files.stat('/tmp/st'), undefined)
  const silent = await world(() => [])
  await assert.rejects(startSelftest(silent.ports, silent.options, never), /unshare failed: Operation not permitted/)
})

test('one that is called off leaves nothing', async () => {
  const stop = new AbortController()
  const { ports, options, files } = await world(() => {
    stop.abort(new HoldfastError('cancelled', 'Ctrl-C'))
    return [{ is: 'progress', figures: figures(1) }]
  })
  await assert.rejects(startSelftest(ports, options, stop.signal), { code: 'cancelled' })
  assert.equal(await files.stat('/tmp/st'), undefined)
  assert.deepEqual(await files.list('/data'), [])
})

test('what it cannot be run with is said before it begins', async () => {
  const { ports, options, ran } = await world(passes)
  const refused = async (
    code: string,
    what: RegExp,
    more: Partial<SelftestOptions>,
    other: Partial<SelftestPorts> = {},
  ) =>
    assert.rejects(startSelftest({ ...ports, ...other }, { ...options, ...more }, never), (thrown: HoldfastError) => {
      assert.equal(thrown.code, code)
      assert.match(thrown.message, what)
      return true
    })
  const hypervisor = (change: Partial<HypervisorFacts>): Partial<SelftestPorts> => ({
    hypervisor: { facts: () => Promise.resolve({ ...facts, ...change }) } as Hypervisor,
  })
  await refused('not-allowed', /only root/, { isRoot: false })
  await refused('host-error', /\/proc\/cpuinfo\/data cannot be written/, { dataDirectory: '/proc/cpuinfo/data' })
  await refused('refused', /8\.1 or newer/, {}, hypervisor({ version: '7.2.22' }))
  await refused('refused', /no machine of the type pc-i440fx/, {}, hypervisor({ machineTypes: ['pc-q35-10.0'] }))
  await refused('refused', /told to use userfaultfd.*errno 22/, { tracker: 'userfaultfd' })
  const missing = new HoldfastError('host-error', 'qemu-system-x86_64 cannot be started')
  await refused(
    'host-error',
    /qemu-system-x86_64/,
    {},
    { hypervisor: { facts: () => Promise.reject(missing) } as unknown as Hypervisor },
  )
  assert.deepEqual(ran, [])
})
