import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { routes } from '../../contracts/routes.ts'
import { openApiDocument } from './openapi.ts'

const root = `${import.meta.dirname}/../../..`

test('docs/api/openapi.json is what the schemas make (else run: node dev/openapi.ts)', async () => {
  const { version } = JSON.parse(await readFile(`${root}/package.json`, 'utf8')) as { version: string }
  const kept: unknown = JSON.parse(await readFile(`${root}/docs/api/openapi.json`, 'utf8'))
  assert.deepEqual(kept, await openApiDocument(version))
})

test('every route is in the document, with its parameters and its answer', async () => {
  const document = (await openApiDocument('0')) as {
    openapi: string
    paths: Record<string, Record<string, { operationId: string; parameters?: { name: string }[]; responses: object }>>
  }
  assert.equal(document.openapi, '3.1.0')
  for (const [name, route] of Object.entries(routes)) {
    const operation = document.paths[route.path]?.[route.method.toLowerCase()]
    assert.equal(operation?.operationId, name)
    assert.ok(Object.hasOwn(operation.responses, String(route.status)), name)
    for (const [, parameter] of route.path.matchAll(/\{([a-zA-Z]+)\}/g)) {
      assert.ok(operation.parameters?.some((each) => each.name === parameter))
    }
  }
})
