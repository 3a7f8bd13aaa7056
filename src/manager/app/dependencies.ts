/** Dependencies of VMs as requests write them: by name or id, with defaults, without cycles. */
import { HoldfastError } from '../../base/errors.ts'
import type { VmId } from '../../base/ids.ts'
import type { DependencyRequest, VmDependency } from '../../contracts/restart.ts'
import { dependencyCycle } from '../domain/dependencies.ts'
import type { VmRecord } from '../store/records.ts'
import { resolve } from './references.ts'

/** Throws `not-found`, and `invalid-request` for what does not fit together. */
export function dependenciesOf(vms: readonly VmRecord[], asked: readonly DependencyRequest[]): VmDependency[] {
  const made = asked.map(({ vm: ref, ready = 'running', ...rest }): VmDependency => {
    const { id, name } = resolve('VM', vms, ref)
    if ((ready === 'port') !== (rest.port !== undefined)) {
      throw new HoldfastError('invalid-request', `a port goes with ready: port, and only with it (${name})`, {
        field: 'dependsOn',
      })
    }
    return { vm: id, ready, ...rest }
  })
  const twice = made.find(({ vm }, at) => made.findIndex((each) => each.vm === vm) !== at)
  if (twice === undefined) return made
  throw new HoldfastError('invalid-request', `${twice.vm} is named twice`, { field: 'dependsOn' })
}

/** Throws `refused` with the cycle in names. */
export function mustHaveNoCycle(
  vms: readonly VmRecord[],
  vm: { readonly id: VmId; readonly name: string },
  dependsOn: readonly VmDependency[],
): void {
  const cycle = dependencyCycle(new Map(vms.map((each) => [each.id, each])), vm, dependsOn)
  if (cycle === undefined) return
  throw new HoldfastError('refused', `these VMs would wait for each other for ever: ${cycle}`, {
    mend: 'Take one of these dependencies away first.',
  })
}
