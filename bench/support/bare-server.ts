/** bare-server.ts BODIES SERVER-FOLDER PORT: Fastify with TLS and nothing else, answering given bytes. */
import { readFile } from 'node:fs/promises'
import Fastify from 'fastify'

const [bodiesFile = '', folder = '', port = '0'] = process.argv.slice(2)
const bodies = JSON.parse(await readFile(bodiesFile, 'utf8')) as Record<string, string>
const server = Fastify({
  https: { cert: await readFile(`${folder}/server.crt`), key: await readFile(`${folder}/server.key`) },
})
for (const [url, body] of Object.entries(bodies)) {
  server.get(url.replace(/\?.*/, ''), (_, reply) => reply.type('application/json; charset=utf-8').send(body))
}
await server.listen({ host: '127.0.0.1', port: Number(port) })
