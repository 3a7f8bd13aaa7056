import assert from 'node:assert/strict'
import { test } from 'node:test'
import { routes } from '../../contracts/routes.ts'
import { registerSagas } from '../sagas/all.ts'
import type { MaintenanceDeps } from '../sagas/host-maintenance.ts'
import { routesWhileProtected, sagasWhileProtected } from './operations-while-protected.ts'

test('every saga on VMs is in the table of what works while a VM is protected', () => {
  const names: string[] = []
  registerSagas({ register: ({ name }) => void names.push(name.split('/')[0] ?? '') }, {} as MaintenanceDeps)
  const ofVms = names.filter((name) => name.startsWith('vm.'))
  assert.ok(ofVms.length > 10)
  assert.deepEqual(ofVms.sort(), Object.keys(sagasWhileProtected).sort())
})

test('every route that changes a VM is in it too', () => {
  const changing = Object.entries(routes).filter(
    ([, route]) => route.path.startsWith('/v1/vms') && (route.method as string) !== 'GET',
  )
  assert.deepEqual(changing.map(([name]) => name).sort(), Object.keys(routesWhileProtected).sort())
})
