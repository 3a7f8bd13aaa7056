/** Every saga, to be registered with the engine before its `recover`. */
import type { SagaEngine } from './engine.ts'
import { maintenanceSaga, type MaintenanceDeps } from './host-maintenance.ts'
import { importImageSaga } from './image-import.ts'
import { cleanCopiesSaga } from './vm-clean-copies.ts'
import { createVmSaga } from './vm-create.ts'
import { deleteVmSaga } from './vm-delete.ts'
import { handOverVmSaga } from './vm-hand-over.ts'
import { migrateVmSaga } from './vm-migrate.ts'
import { moveDisksSaga } from './vm-move-disks.ts'
import { protectVmSaga } from './vm-protect.ts'
import { resetHungVmSaga } from './vm-reset-hung.ts'
import { shutdownVmSaga } from './vm-shutdown.ts'
import { signalSagas } from './vm-signal.ts'
import { startVmSaga } from './vm-start.ts'
import { stopVmSaga } from './vm-stop.ts'
import { unprotectVmSaga } from './vm-unprotect.ts'

export function registerSagas(engine: Pick<SagaEngine, 'register'>, deps: MaintenanceDeps): void {
  engine.register(createVmSaga, deps)
  engine.register(startVmSaga, deps)
  engine.register(stopVmSaga, deps)
  engine.register(shutdownVmSaga, deps)
  engine.register(deleteVmSaga, deps)
  engine.register(migrateVmSaga, deps)
  engine.register(moveDisksSaga, deps)
  engine.register(cleanCopiesSaga, deps)
  engine.register(protectVmSaga, deps)
  engine.register(unprotectVmSaga, deps)
  engine.register(handOverVmSaga, deps)
  engine.register(resetHungVmSaga, deps)
  engine.register(maintenanceSaga, deps)
  engine.register(importImageSaga, deps)
  for (const signal of Object.values(signalSagas)) engine.register(signal, deps)
}
