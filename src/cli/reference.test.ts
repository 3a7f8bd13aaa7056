import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { referencePage } from './reference.ts'

test('docs/cli.md is what the commands say (else: node dev/cli-reference.ts)', async () => {
  const committed = readFileSync(new URL('../../docs/cli.md', import.meta.url), 'utf8')
  assert.equal(await referencePage(), committed)
})
