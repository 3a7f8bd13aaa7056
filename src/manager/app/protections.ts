/** Protection of VMs against the loss of their host: what the API asks. */
import type { HostId, TaskId, VmId } from '../../base/ids.ts'
import { MiB } from '../../base/units.ts'
import type { ProtectPrecheck, ProtectVm } from '../../contracts/vm-protection.ts'
import { settingsFor } from '../domain/protection-settings.ts'
import type { SagaDeps } from '../sagas/deps.ts'
import type { SagaEngine } from '../sagas/engine.ts'
import { beginOperation } from '../sagas/operation.ts'
import { protectOperation, unprotectOperation } from '../sagas/protection-operations.ts'
import { settleByHand } from '../sagas/settling.ts'
import { precheckProtection } from '../sagas/vm-protect.ts'
import type { AppContext, Caller } from './context.ts'
import { resolve } from './references.ts'
import { need } from './write.ts'

export class Protections {
  readonly #context: AppContext
  readonly #engine: SagaEngine
  readonly #deps: SagaDeps

  constructor(context: AppContext, engine: SagaEngine, deps: SagaDeps) {
    this.#context = context
    this.#engine = engine
    this.#deps = deps
  }

  /** Throws `refused` with every reason, `invalid-request` for settings that contradict each other. */
  async protect(id: string, body: ProtectVm, caller: Caller): Promise<TaskId> {
    const host = this.#host(body)
    const { value } = await need(this.#context.store, 'vm', id)
    const settings = settingsFor(body, value.protection?.settings)
    return beginOperation(this.#engine, caller, () => protectOperation(this.#deps, value.id, { host, settings }))
  }

  unprotect(id: string, caller: Caller): Promise<TaskId> {
    return beginOperation(this.#engine, caller, () => unprotectOperation(this.#deps, id as VmId))
  }

  /** Throws `wrong-state` where a copy may still run, or where it can be found out whose is the newest. */
  async settle(id: string, { name }: Caller): Promise<void> {
    await need(this.#context.store, 'vm', id)
    await settleByHand(this.#deps, id as VmId, name)
  }

  async precheck(id: string, body: ProtectVm): Promise<ProtectPrecheck> {
    const host = this.#host(body)
    const { value } = await need(this.#context.store, 'vm', id)
    settingsFor(body, value.protection?.settings)
    const result = await precheckProtection(this.#deps, { vm: value.id, host })
    if (!result.ok) return { isPossible: false, reasons: [...result.reasons], plan: null }
    const { second, arbiter, copies } = result.plan
    const plan = {
      second: this.#nameOf(second),
      arbiter: this.#nameOf(arbiter),
      memoryBytes: value.spec.memoryMiB * MiB,
      diskBytes: copies.reduce((sum, copy) => sum + copy.sizeBytes, 0),
    }
    return { isPossible: true, reasons: [], plan }
  }

  #host({ host }: ProtectVm): HostId | null {
    return host === undefined ? null : resolve('host', this.#context.mirror.list('host'), host).id
  }

  #nameOf(id: string): string {
    return this.#context.mirror.get('host', id)?.name ?? id
  }
}
