/** The least that a server of this kind loads: Node, Fastify, SQLite. Waits until it is ended. */
import { DatabaseSync } from 'node:sqlite'
import Fastify from 'fastify'

const database = new DatabaseSync(':memory:')
database.exec('create table record (id text primary key, json text)')
const server = Fastify()
server.get('/', () => database.prepare('select count(*) from record').get())
await server.listen({ host: '127.0.0.1', port: 0 })
