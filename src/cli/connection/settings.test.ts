import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Files } from '../../base/files.ts'
import type { GlobalFlags } from '../cli.ts'
import { memoryFiles } from '../testing/memory-files.ts'
import { findSettings, machineClientFiles } from './settings.ts'

const noFlags: GlobalFlags = { json: false, url: undefined, tokenFile: undefined, caFile: undefined }
const login = '/home/ada/.config/holdfast/client.json'
const saved = JSON.stringify({ url: 'https://saved:7443', token: 'saved', ca: 'PEM' })

function asking(flags: Partial<GlobalFlags> = {}, env: Record<string, string> = {}) {
  return { flags: { ...noFlags, ...flags }, env: { HOME: '/home/ada', ...env }, cwd: '/home/ada' }
}

test('flags come before the environment, then the sign-in, then the lab', async () => {
  const lab = machineClientFiles[0].path
  const files = memoryFiles({
    [login]: saved,
    [lab]: JSON.stringify({ url: 'https://lab:7443' }),
    '/home/ada/t': 'tok\n',
  })
  const env = { HOLDFAST_URL: 'https://env:7443', HOLDFAST_TOKEN: 'env' }
  const flagged = await findSettings(asking({ url: 'https://flag:7443', tokenFile: 't' }, env), files)
  assert.deepEqual([flagged.url, flagged.token], ['https://flag:7443', 'tok'])
  assert.equal((await findSettings(asking({}, env), files)).token, 'env')
  assert.equal((await findSettings(asking(), files)).url, 'https://saved:7443')
  await files.remove(login)
  assert.equal((await findSettings(asking(), files)).url, 'https://lab:7443')
})

test('a token never goes to an address that another source named', async () => {
  const files = memoryFiles({ [login]: saved })
  const env = { HOLDFAST_URL: 'https://env:7443', HOLDFAST_TOKEN: 'env' }
  assert.equal((await findSettings(asking({ url: 'https://other:7443' }, env), files)).token, undefined)
  assert.equal((await findSettings(asking({ url: 'https://other:7443' }), files)).token, undefined)
})

test('what was saved for an address goes with it when the address is given', async () => {
  const settings = await findSettings(asking({ url: 'https://saved:7443/' }), memoryFiles({ [login]: saved }))
  assert.deepEqual([settings.url, settings.token, settings.ca], ['https://saved:7443', 'saved', 'PEM'])
})

test('a token alone in the environment is meant for the address that is given', async () => {
  const settings = await findSettings(asking({ url: 'https://m:1' }, { HOLDFAST_TOKEN: 'x' }), memoryFiles())
  assert.equal(settings.token, 'x')
})

test('HOLDFAST_CA is a file or the certificate itself', async () => {
  const files = memoryFiles({ '/ca.pem': 'from file' })
  const url = 'https://env:7443'
  assert.equal((await findSettings(asking({}, { HOLDFAST_URL: url, HOLDFAST_CA: '/ca.pem' }), files)).ca, 'from file')
  const pem = '-----BEGIN CERTIFICATE-----\n'
  assert.equal((await findSettings(asking({}, { HOLDFAST_URL: url, HOLDFAST_CA: pem }), files)).ca, pem)
})

test('what is no address is refused, and so is a damaged file', async () => {
  for (const url of ['manager', 'ftp://manager', 'https://u:p@m', 'https://m/path']) {
    await assert.rejects(findSettings(asking({ url }), memoryFiles()), { code: 'invalid-request' })
  }
  await assert.rejects(findSettings(asking(), memoryFiles({ [login]: '{' })), /is damaged/)
})

test('nothing known says what to do; a file of root says to use sudo', async () => {
  await assert.rejects(findSettings(asking(), memoryFiles()), { code: 'not-signed-in' })
  const closed: Files = {
    ...memoryFiles(),
    readText: async () => {
      throw Object.assign(new Error('EACCES'), { code: 'EACCES' })
    },
  }
  await assert.rejects(findSettings(asking(), closed), /not readable/)
})
