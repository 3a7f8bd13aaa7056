/**
 * Whether KVM runs a real kernel here. That /dev/kvm opens says little: nested and para-virtual KVMs exist that run no
 * unmodified kernel. So a guest of our own (probe/probe.S) is run that does what a kernel cannot do without, and only
 * its own right verdict means KVM. The same guest under TCG is the control: a probe that is broken never says "no KVM".
 */
import { dirname } from 'node:path'
import { describeError } from '../base/errors.ts'
import type { Files } from '../base/files.ts'
import type { HypervisorFacts } from './hypervisor.ts'
import { probeCode, probeReset } from './probe/image.ts'
import type { MachineDeps } from './qemu-machine.ts'

export interface ProbeSettings {
  readonly binary: string
  readonly binaryArguments?: readonly string[]
  /** File that keeps the verdict until QEMU, the kernel or the processor changes. */
  readonly probeFile: string
  readonly qemuVersion: string
}

type Accelerator = HypervisorFacts['accelerator']

interface Kept {
  readonly about: string
  readonly verdict: Accelerator
}

const biosBytes = 64 * 1024
const rightVerdict = 42
/** The guest needs a few milliseconds; TCG on a busy machine some more. */
const deadlineMs = 8000

const steps: Record<number, string> = {
  1: 'the processor lacks features that every 64-bit kernel needs',
  2: 'long mode with paging could not be entered',
  3: 'a page fault was not delivered rightly',
  4: 'a read-only page could be written, or its fault was wrong',
  5: 'SSE2 does not work in kernel mode',
  6: 'the bases of FS and GS do not work',
  7: 'the timer does not interrupt a halted processor',
  8: 'system calls from user mode do not work',
}

/** Takes some 100 ms the first time. Never rejects for what the probe found; TCG is the answer that always works. */
export async function probeKvm(deps: MachineDeps, settings: ProbeSettings): Promise<Accelerator> {
  if ((await deps.files.stat('/dev/kvm')) === undefined) return { kind: 'tcg', reason: 'this host has no /dev/kvm' }
  const about = await describeHost(deps.files, settings.qemuVersion)
  const kept = await keptVerdict(deps.files, settings.probeFile)
  if (kept?.about === about) return kept.verdict
  const verdict = await judge(deps, settings)
  if (verdict === undefined)
    return { kind: 'tcg', reason: 'the probe does not work with this QEMU, so nothing is known of KVM' }
  await deps.files.makeDirectory(dirname(settings.probeFile))
  await deps.files.replace(settings.probeFile, JSON.stringify({ about, verdict } satisfies Kept))
  return verdict
}

async function describeHost(files: Files, qemuVersion: string): Promise<string> {
  const kernel = await files.readText('/proc/sys/kernel/osrelease')
  const processor = /^model name\s*:\s*(.*)$/m.exec(await files.readText('/proc/cpuinfo'))?.[1] ?? 'unknown processor'
  return `QEMU ${qemuVersion}, Linux ${kernel.trim()}, ${processor}`
}

async function keptVerdict(files: Files, path: string): Promise<Kept | undefined> {
  try {
    return JSON.parse(await files.readText(path)) as Kept
  } catch {
    return undefined
  }
}

async function judge(deps: MachineDeps, settings: ProbeSettings): Promise<Accelerator | undefined> {
  const bios = `${settings.probeFile}.bios`
  await deps.files.makeDirectory(dirname(bios))
  await deps.files.write(bios, probeImage())
  try {
    const underKvm = await runProbe(deps, settings, bios, 'kvm')
    if (underKvm === null) return { kind: 'kvm', reason: 'the probe ran a guest in long mode under KVM' }
    if ((await runProbe(deps, settings, bios, 'tcg')) !== null) return undefined
    return { kind: 'tcg', reason: `/dev/kvm is there but runs no kernel: ${underKvm}` }
  } finally {
    await deps.files.remove(bios)
  }
}

/** The BIOS: code at the beginning, the reset vector in the last 16 bytes. */
export function probeImage(): Uint8Array {
  const image = Buffer.alloc(biosBytes)
  image.set(Buffer.from(probeCode, 'base64'))
  image.set(Buffer.from(probeReset, 'base64'), biosBytes - 16)
  return image
}

/** Null when all is right, else what went wrong. */
async function runProbe(
  deps: MachineDeps,
  settings: ProbeSettings,
  bios: string,
  accelerator: 'kvm' | 'tcg',
): Promise<string | null> {
  const controller = new AbortController()
  const stop = (reason: string) => (): void => controller.abort(new Error(reason))
  using _ = deps.clock.timer(deadlineMs, stop('its guest hung'))
  const args = [
    ...(settings.binaryArguments ?? []),
    ...['-accel', accelerator, '-machine', 'pc', '-cpu', 'qemu64', '-m', '32M', '-nodefaults', '-no-user-config'],
    ...['-display', 'none', '-no-reboot', '-bios', bios, '-device', 'isa-debug-exit,iobase=0xf4,iosize=4'],
  ]
  try {
    const { code, stderr } = await deps.processes.run(settings.binary, args, {
      signal: controller.signal,
      // QEMU stays when the kernel gives up on the guest; there is nothing to wait for then.
      onStderr: (text) =>
        text.includes('KVM internal error') && stop('the kernel could not go on with the guest (KVM internal error)')(),
    })
    return meaning(code, stderr)
  } catch (thrown) {
    return describeError(thrown)
  }
}

/** isa-debug-exit ends QEMU with twice the guest's word plus one; without a word it ends with 0 (reset) or 1 (error). */
function meaning(code: number, stderr: string): string | null {
  const word = code >> 1
  if (code % 2 === 0 || word === 0)
    return code === 0 ? 'its guest fell into a reset' : (stderr.trim().split('\n').at(-1) ?? `QEMU ended with ${code}`)
  if (word === rightVerdict) return null
  const step = steps[word & 63] ?? `step ${word & 63} failed`
  return word >= 64 ? `${step} (unexpected exception)` : step
}
