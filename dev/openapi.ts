/**
 * Writes docs/api/openapi.json from the routes table: `node dev/openapi.ts`. The test beside the server makes it again
 * and compares (src/server/rest/openapi.test.ts).
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { format, resolveConfig } from 'prettier'
import { openApiDocument } from '../src/server/rest/openapi.ts'

const root = `${import.meta.dirname}/..`
const path = `${root}/docs/api/openapi.json`
const { version } = JSON.parse(readFileSync(`${root}/package.json`, 'utf8')) as { version: string }
const text = JSON.stringify(await openApiDocument(version), null, 2)
writeFileSync(path, await format(text, { ...(await resolveConfig(path)), parser: 'json' }))
