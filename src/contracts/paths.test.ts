import assert from 'node:assert/strict'
import { test } from 'node:test'
import { routePaths } from './paths.ts'
import { routes, type Route } from './routes.ts'

test('every route has its path, and says whether it takes a document and answers with bytes', () => {
  const expected = Object.entries(routes).map(([name, route]: [string, Route]) => [
    name,
    {
      method: route.method,
      path: route.path,
      hasBody: route.body !== undefined,
      isBytes: 'contentMediaType' in route.response,
    },
  ])
  assert.deepEqual(routePaths, Object.fromEntries(expected))
})
