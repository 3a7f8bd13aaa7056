import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Files } from '../../base/files.ts'
import type { Processes } from '../../base/processes.ts'
import { endPostCopyRight, postCopyObstacle, withPostCopyRight } from './post-copy-right.ts'

interface Given {
  readonly allowance?: string
  readonly hasDevice?: boolean
  /** Exit code of setfacl; undefined: there is no such program. */
  readonly setfacl?: number | undefined
}

function host(given: Given) {
  const { allowance = '0\n', hasDevice = true } = given
  const setfacl = 'setfacl' in given ? given.setfacl : 0
  const ran: string[] = []
  const files = {
    readText: async () => allowance,
    stat: async () => (hasDevice ? { kind: 'other' } : undefined),
  } as unknown as Files
  const run = async (command: string, args: readonly string[]) => {
    ran.push([command, ...args].join(' '))
    if (setfacl === undefined) throw new Error('ENOENT')
    return { code: setfacl, stdout: '', stderr: 'Operation not supported' }
  }
  return { ran, deps: { files, processes: { run } as unknown as Processes } }
}

const obstacle = async (given: Given, qemu = '10.0.2'): Promise<string | null> =>
  postCopyObstacle(host(given).deps, qemu)

test('what keeps guests from coming by post-copy is named', async () => {
  assert.equal(await obstacle({}), null)
  assert.equal(await obstacle({}, '8.1.0'), null)
  assert.match((await obstacle({}, '7.2.22')) ?? '', /8\.1 or newer/)
  assert.match((await obstacle({}, '8.0.4')) ?? '', /8\.1 or newer/)
  assert.match((await obstacle({ hasDevice: false })) ?? '', /no \/dev\/userfaultfd/)
  assert.match((await obstacle({ setfacl: undefined })) ?? '', /setfacl is missing/)
})

test('where every process may handle its own faults nothing is in the way, and nothing is given', async () => {
  const given = { allowance: '1\n', hasDevice: false, setfacl: undefined }
  assert.equal(await obstacle(given, '7.2.22'), null)
  const { ran, deps } = host(given)
  assert.equal(await withPostCopyRight(deps, 640_001, async () => 'done'), 'done')
  assert.deepEqual(ran, [])
})

test('the right is one user’s, and is taken back whatever becomes of the work', async () => {
  const { ran, deps } = host({})
  await assert.rejects(
    withPostCopyRight(deps, 640_001, () => Promise.reject(new Error('no'))),
    /^Error: no$/,
  )
  assert.deepEqual(ran, ['setfacl -m u:640001:rw /dev/userfaultfd', 'setfacl -x u:640001 /dev/userfaultfd'])
})

test('a right that cannot be given stops the work before it begins', async () => {
  const { deps } = host({ setfacl: 1 })
  const work = async (): Promise<never> => assert.fail('begun')
  await assert.rejects(withPostCopyRight(deps, 640_001, work), { code: 'host-error', message: /not supported/ })
  await endPostCopyRight(deps, 640_001)
})
