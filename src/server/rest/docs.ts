/**
 * What people and programs read about the API: the OpenAPI document (docs/api/openapi.json, generated from the schemas),
 * a page for reading it, and a page of the problems' codes. All offline; the reading page is loaded when first asked for.
 */
import type { FastifyInstance } from 'fastify'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Files } from '../../base/files.ts'
import { problemsPage } from './problems-page.ts'

export interface DocsFiles {
  readonly files: Files
  /** docs/api/openapi.json */
  readonly openApiPath: string
}

export function installDocs(server: FastifyInstance, options: DocsFiles): void {
  const document = remember(() => options.files.readText(options.openApiPath))
  server.get('/v1/openapi.json', async (_request, reply) =>
    reply.type('application/json; charset=utf-8').send(await document()),
  )
  server.get('/docs/problems', async (_request, reply) => reply.type('text/html; charset=utf-8').send(problemsPage()))
  const page = remember(async () => {
    const { openReferencePage } = await import('./reference-page.ts')
    return openReferencePage(JSON.parse(await document()) as Record<string, unknown>)
  })
  const handle = async (request: { raw: IncomingMessage }, reply: { raw: ServerResponse; hijack(): void }) => {
    const show = await page()
    reply.hijack()
    show(request.raw, reply.raw)
  }
  server.get('/docs/api', (request, reply) => handle(request, reply))
  server.get('/docs/api/*', (request, reply) => handle(request, reply))
}

/** Made at the first use; made again when that failed. */
function remember<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined
  return () => {
    made ??= make().catch((thrown: unknown) => {
      made = undefined
      throw thrown
    })
    return made
  }
}
