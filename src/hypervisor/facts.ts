import { HoldfastError } from '../base/errors.ts'
import type { HypervisorFacts } from './hypervisor.ts'
import { probeKvm } from './kvm-probe.ts'
import type { MachineDeps } from './qemu-machine.ts'
import { versionOf, type QemuVersionReply } from './qemu-version.ts'

export interface FactsSettings {
  readonly binary: string
  readonly binaryArguments?: readonly string[]
  readonly probeFile: string
  readonly accelerator?: 'kvm' | 'tcg'
}

const answerMs = 30_000

/** Asks a QEMU that runs nothing. CPU models are those that this accelerator can show to a guest completely. */
export async function hypervisorFacts(deps: MachineDeps, settings: FactsSettings): Promise<HypervisorFacts> {
  const version = versionOf(
    (await ask<QemuVersionReply>(deps, settings, 'tcg', ['query-version']))[0] as QemuVersionReply,
  )
  const accelerator =
    settings.accelerator === undefined
      ? await probeKvm(deps, { ...settings, qemuVersion: version.text })
      : { kind: settings.accelerator, reason: 'as configured' }
  const [machines, models] = await ask(deps, settings, accelerator.kind, ['query-machines', 'query-cpu-definitions'])
  return {
    version: version.plain,
    package: version.package,
    machineTypes: (machines as { name: string; deprecated?: boolean }[])
      .map(({ name }) => name)
      .filter((name) => /^pc-(?:i440fx|q35)-[0-9]+\.[0-9]+$/.test(name)),
    cpuModels: (models as { name: string; 'unavailable-features'?: string[] }[])
      .filter((model) => (model['unavailable-features'] ?? []).length === 0)
      .map(({ name }) => name),
    accelerator,
  }
}

async function ask<T = unknown>(
  deps: MachineDeps,
  settings: FactsSettings,
  accelerator: 'kvm' | 'tcg',
  commands: readonly string[],
): Promise<T[]> {
  const controller = new AbortController()
  using _ = deps.clock.timer(answerMs, () =>
    controller.abort(new HoldfastError('timeout', `${settings.binary} did not answer within ${answerMs} ms`)),
  )
  const input = ['qmp_capabilities', ...commands, 'quit'].map((execute) => `${JSON.stringify({ execute })}\n`).join('')
  const args = [
    ...(settings.binaryArguments ?? []),
    '-machine',
    `pc,accel=${accelerator}`,
    '-S',
    '-nodefaults',
    '-no-user-config',
    '-display',
    'none',
    '-qmp',
    'stdio',
  ]
  const { stdout, stderr, code } = await deps.processes.run(settings.binary, args, { input, signal: controller.signal })
  const replies = stdout
    .split('\n')
    .filter((line) => line.startsWith('{"return"'))
    .map((line) => (JSON.parse(line) as { return: T }).return)
  if (replies.length < commands.length + 1)
    throw new HoldfastError('hypervisor-error', `${settings.binary} ended with ${code}: ${stderr.trim()}`)
  return replies.slice(1, commands.length + 1)
}
