/** Asks the guest to shut down (ACPI), and waits until it has. When it does not in time, nothing is forced. */
import { HoldfastError } from '../../base/errors.ts'
import type { VmId } from '../../base/ids.ts'
import { pollPauses } from './agent-jobs.ts'
import type { SagaDeps } from './deps.ts'
import { saga } from './saga.ts'
import { needRun, needVm, restorePower } from './vm-records.ts'

export interface ShutdownVmParams {
  readonly vm: VmId
  readonly timeoutSeconds: number
  /** The intent before this operation, put back when it fails. */
  readonly powerBefore: 'on' | 'off'
}

/** How long a guest gets when nobody says. */
export const defaultShutdownSeconds = 120

export const shutdownVmSaga = saga<ShutdownVmParams, SagaDeps>('vm.shutdown/1')
  .step({
    name: 'press',
    do: ({ params, deps }) => pressButton(deps, params.vm),
    undo: ({ params, deps }) => restorePower(deps, params.vm, params.powerBefore),
  })
  .step({
    name: 'wait',
    weight: 9,
    do: async ({ params, deps, signal, progress }) => {
      await untilStopped(deps, params, signal, progress)
      return null
    },
  })
  .result(() => null)

async function pressButton(deps: SagaDeps, vm: VmId): Promise<null> {
  const run = await needRun(deps, vm)
  if (run.phase === 'stopped') return null
  if (run.phase !== 'running' || run.host === null) throw new HoldfastError('wrong-state', `${vm} is ${run.phase}`)
  await deps.hosts.agent(run.host).stop(vm, { generation: run.generation, how: 'acpi' })
  return null
}

async function untilStopped(
  deps: SagaDeps,
  { vm, timeoutSeconds }: ShutdownVmParams,
  signal: AbortSignal,
  progress: (fraction: number) => void,
): Promise<void> {
  const began = deps.clock.monotonic()
  for (const pauseMs of pollPauses()) {
    if ((await needRun(deps, vm)).phase === 'stopped') return
    signal.throwIfAborted()
    const passedMs = deps.clock.monotonic() - began
    if (passedMs >= timeoutSeconds * 1000) {
      const { name } = (await needVm(deps, vm)).value
      throw new HoldfastError(
        'wrong-state',
        `The guest of ${name} was asked to shut down and has not done so within ${timeoutSeconds} s; it runs on`,
        {
          mend: `It may still boot, hang, or know no power button. See its console (holdfast vm console ${name}) and ask again, or power it off (holdfast vm stop ${name}).`,
        },
      )
    }
    progress(passedMs / (timeoutSeconds * 1000))
    await deps.clock.sleep(pauseMs, signal).catch(() => undefined)
  }
}
