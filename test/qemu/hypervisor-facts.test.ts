import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { probeKvm } from '../../src/hypervisor/kvm-probe.ts'
import { qemuHypervisor } from '../../src/hypervisor/qemu-hypervisor.ts'
import { deps } from './hypervisor-guest.ts'

const root = join(import.meta.dirname, '../..')

/** Where the machine has no /dev/kvm, as if it had one that runs nothing. */
const withKvm: typeof deps = {
  ...deps,
  files: {
    ...deps.files,
    stat: (path) => deps.files.stat(path === '/dev/kvm' && !existsSync(path) ? '/dev/null' : path),
  },
}

test('QEMU says what it is, and the probe whether KVM can be used; both are remembered', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'hf-facts-'))
  try {
    const probeFile = join(folder, 'probe.json')
    const facts = await qemuHypervisor(withKvm, { probeFile }).facts()
    assert.match(facts.version, /^[0-9]+(\.[0-9]+)+$/)
    assert.ok(facts.machineTypes.includes('pc-i440fx-7.2') && facts.machineTypes.includes('pc-q35-7.2'))
    assert.ok(facts.cpuModels.includes('qemu64'))
    if (facts.accelerator.kind === 'tcg') assert.match(facts.accelerator.reason, /kvm/i)

    const kept = JSON.parse(readFileSync(probeFile, 'utf8')) as { about: string; verdict: unknown }
    assert.deepEqual(kept.verdict, facts.accelerator)
    writeFileSync(probeFile, JSON.stringify({ ...kept, verdict: { kind: 'kvm', reason: 'planted' } }))
    // With the package: another build of the same version is another QEMU.
    const qemuVersion = /^QEMU (.*), Linux /.exec(kept.about)?.[1] ?? ''
    assert.ok(qemuVersion.startsWith(facts.version), kept.about)
    const settings = { binary: 'qemu-system-x86_64', probeFile, qemuVersion }
    assert.equal((await probeKvm(withKvm, settings)).reason, 'planted')
    assert.notEqual((await probeKvm(withKvm, { ...settings, qemuVersion: 'another' })).reason, 'planted')
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('a host without /dev/kvm says so, and keeps nothing: the device may come', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'hf-facts-'))
  try {
    const files = {
      ...deps.files,
      stat: (path: string) => deps.files.stat(path === '/dev/kvm' ? `${folder}/no` : path),
    }
    const probeFile = join(folder, 'probe.json')
    const verdict = await probeKvm({ ...deps, files }, { binary: 'qemu-system-x86_64', probeFile, qemuVersion: 'any' })
    assert.deepEqual(verdict, { kind: 'tcg', reason: 'this host has no /dev/kvm' })
    assert.equal(existsSync(probeFile), false)
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('a QEMU on which the probe itself does not work says nothing about KVM', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'hf-facts-'))
  try {
    const verdict = await probeKvm(deps, {
      binary: 'false',
      probeFile: join(folder, 'probe.json'),
      qemuVersion: 'none',
    })
    assert.equal(verdict.kind, 'tcg')
    assert.match(verdict.reason, /nothing is known|no \/dev\/kvm/)
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('the bytes of the probe are those of its source', () => {
  const made = execFileSync(join(root, 'dev/build-kvm-probe'), ['--print'], { encoding: 'utf8' })
  const normal = (text: string): string => text.replaceAll(/\s+/g, '')
  assert.equal(normal(readFileSync(join(root, 'src/hypervisor/probe/image.ts'), 'utf8')), normal(made))
})
