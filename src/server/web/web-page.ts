/**
 * The web page: TypeScript modules of web/src with their types taken away, and noVNC's modules as they are. Nothing is
 * built; files are read when first asked for and then kept.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { createHash } from 'node:crypto'
import { HoldfastError } from '../../base/errors.ts'
import type { Files } from '../../base/files.ts'
import type { Processes } from '../../base/processes.ts'

export interface WebFiles {
  readonly files: Files
  readonly processes: Processes
  /** web/, with index.html, style.css and src/. */
  readonly webDirectory: string
  /** The package @novnc/novnc, with core/ and vendor/. */
  readonly novncDirectory: string
  /** The node program that takes the types away. */
  readonly nodePath: string
}

interface Asset {
  readonly body: string | Uint8Array
  readonly type: string
  readonly etag: string
}

const typeOf: Record<string, string> = {
  html: 'text/html; charset=utf-8',
  css: 'text/css; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  svg: 'image/svg+xml',
}

export function installWebPage(server: FastifyInstance, web: WebFiles): void {
  const page = new WebPage(web)
  server.get('/', (request, reply) => page.send(request, reply, 'index.html', 'html'))
  server.get('/favicon.ico', (_request, reply) => reply.code(204).send())
  server.get('/web/style.css', (request, reply) => page.send(request, reply, 'style.css', 'css'))
  server.get('/web/:module', (request, reply) => {
    const name = /^([a-z0-9-]+)\.js$/.exec((request.params as { module: string }).module)?.[1]
    if (name === undefined) throw nothing(request)
    return page.sendModule(request, reply, name)
  })
  server.get('/novnc/*', (request, reply) => {
    const path = (request.params as { '*': string })['*']
    // Folders and files of the package have plain names: with no dot but the last, no path leads out of it.
    if (!/^(core|vendor)(\/[a-zA-Z0-9_-]+)+\.js$/.test(path)) throw nothing(request)
    return page.sendNovnc(request, reply, path)
  })
}

class WebPage {
  readonly #web: WebFiles
  readonly #assets = new Map<string, Asset>()
  #modules: Promise<ReadonlyMap<string, Asset>> | undefined

  constructor(web: WebFiles) {
    this.#web = web
  }

  async send(request: FastifyRequest, reply: FastifyReply, name: string, ending: string): Promise<FastifyReply> {
    return answer(request, reply, await this.#read(`${this.#web.webDirectory}/${name}`, ending))
  }

  async sendModule(request: FastifyRequest, reply: FastifyReply, name: string): Promise<FastifyReply> {
    this.#modules ??= this.#strip().catch((thrown: unknown) => {
      this.#modules = undefined
      throw thrown
    })
    const asset = (await this.#modules).get(name)
    if (asset === undefined) throw nothing(request)
    return answer(request, reply, asset)
  }

  async sendNovnc(request: FastifyRequest, reply: FastifyReply, path: string): Promise<FastifyReply> {
    const file = `${this.#web.novncDirectory}/${path}`
    if ((await this.#web.files.stat(file)) === undefined) throw nothing(request)
    return answer(request, reply, await this.#read(file, 'js'))
  }

  async #read(path: string, ending: string): Promise<Asset> {
    let asset = this.#assets.get(path)
    if (asset === undefined) {
      asset = assetOf(await this.#web.files.read(path), ending)
      this.#assets.set(path, asset)
    }
    return asset
  }

  /** In a process of its own: what takes types away stays in memory for good once it is loaded. */
  async #strip(): Promise<ReadonlyMap<string, Asset>> {
    const { files, processes, webDirectory, nodePath } = this.#web
    const names = (await files.list(`${webDirectory}/src`)).filter((name) => /^[a-z0-9-]+\.ts$/.test(name))
    const sources: Record<string, string> = {}
    for (const name of names) sources[name] = await files.readText(`${webDirectory}/src/${name}`)
    const result = await processes.run(nodePath, ['--no-warnings', '--input-type=module', '--eval', stripScript], {
      input: JSON.stringify(sources),
    })
    if (result.code !== 0) {
      throw new HoldfastError('internal', `the web page cannot be made ready: ${result.stderr.slice(-500)}`)
    }
    const stripped = JSON.parse(result.stdout) as Record<string, string>
    return new Map(
      Object.entries(stripped).map(([name, code]) => [
        name.replace(/\.ts$/, ''),
        // Modules name each other with .ts endings, as all our code does; here they are .js.
        assetOf(code.replaceAll(/(from\s+|import\s+)'(\.\/[a-z0-9-]+)\.ts'/g, "$1'$2.js'"), 'js'),
      ]),
    )
  }
}

const stripScript = `
import { stripTypeScriptTypes } from 'node:module'
let text = ''
for await (const chunk of process.stdin) text += chunk
const stripped = {}
for (const [name, source] of Object.entries(JSON.parse(text))) stripped[name] = stripTypeScriptTypes(source)
process.stdout.write(JSON.stringify(stripped))
`

function assetOf(body: string | Uint8Array, ending: string): Asset {
  const digest = createHash('sha256').update(body).digest('hex').slice(0, 32)
  return { body, type: typeOf[ending] ?? 'application/octet-stream', etag: `"${digest}"` }
}

function answer(request: FastifyRequest, reply: FastifyReply, asset: Asset): FastifyReply {
  reply.headers({ etag: asset.etag, 'cache-control': 'no-cache' })
  if (request.headers['if-none-match'] === asset.etag) return reply.code(304).send()
  return reply.type(asset.type).send(typeof asset.body === 'string' ? asset.body : Buffer.from(asset.body))
}

function nothing(request: FastifyRequest): HoldfastError {
  return new HoldfastError('not-found', `there is nothing at ${request.url.split('?', 1)[0] ?? ''}`)
}
