/** The API reference for reading, in a small server of its own: its parts are many, and most managers never show it. */
import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import Fastify from 'fastify'
import type { IncomingMessage, ServerResponse } from 'node:http'

const logo =
  '<svg xmlns="http://www.w3.org/2000/svg" width="120" height="40"><text x="0" y="28" font-family="sans-serif" ' +
  'font-size="22" font-weight="bold" fill="#fff">Holdfast</text></svg>'

/** Answers requests under /docs/api; its own content security policy is as strict as the page allows. */
export async function openReferencePage(
  document: Record<string, unknown>,
): Promise<(request: IncomingMessage, response: ServerResponse) => void> {
  const inner = Fastify({ logger: false })
  await inner.register(swagger, { mode: 'static', specification: { document: document as never } })
  await inner.register(swaggerUi, {
    routePrefix: '/docs/api',
    staticCSP: true,
    uiConfig: { docExpansion: 'list', deepLinking: true, persistAuthorization: false, validatorUrl: null },
    theme: { title: 'Holdfast API' },
    logo: { type: 'image/svg+xml', content: Buffer.from(logo), href: '/', target: '_self' },
  })
  await inner.ready()
  return (request, response) => inner.routing(request, response)
}
