/** The client of dev/chaos beside a guest's ledger that is played here: breaks of connections, and planted faults. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'node:test'
import { LedgerClient } from '../support/chaos/ledger-client.ts'
import { LedgerJudge } from '../support/chaos/ledger-judge.ts'

const [one, two] = ['11111111-1111-4111-8111-111111111111', '22222222-2222-4222-8222-222222222222']

/** What libexec/guests/busybox/rootfs/bin/ledger does. */
class PlayedGuest implements AsyncDisposable {
  readonly disk: string[] = []
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  boot = one
  #up = 0

  constructor() {
    this.#server = createServer((socket) => {
      this.#sockets.add(socket)
      socket.on('error', () => undefined)
      createInterface(socket).on('line', (line) => this.#hear(socket, line))
    })
  }

  async listen(): Promise<number> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    return (this.#server.address() as AddressInfo).port
  }

  #hear(socket: Socket, line: string): void {
    const [word, text] = line.split(' ')
    const n = Number(text)
    if (word === 'read')
      return void socket.write([...this.disk.slice(0, n).map((each) => `= ${each}`), 'end', ''].join('\n'))
    this.disk[n] = `${n}:${this.boot}`
    socket.write(`put ${n} ${this.boot} ${++this.#up}\n`)
  }

  /** As a crash does it: nobody is told, and the guest's time begins anew. */
  restart(boot: string): void {
    this.boot = boot
    this.#up = 0
    this.hangUp()
  }

  hangUp(): void {
    for (const socket of this.#sockets) socket.destroy()
    this.#sockets.clear()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.hangUp()
    this.#server.close()
    await once(this.#server, 'close')
  }
}

async function until(condition: () => boolean): Promise<void> {
  const end = performance.now() + 60_000
  while (!condition()) {
    assert.ok(performance.now() < end, 'not within a minute')
    await sleep(20)
  }
}

test('a client goes on after its connection broke and its guest was started again, and what it was told is there', async () => {
  await using guest = new PlayedGuest()
  const judge = new LedgerJudge('web')
  await using client = new LedgerClient(judge, '127.0.0.1', await guest.listen())
  await until(() => judge.next >= 2)
  guest.hangUp()
  await until(() => judge.next >= 3)
  guest.restart(two)
  await until(() => judge.boots.length === 2)
  await client.verify()
  assert.equal(judge.problem, undefined)
})

test('a disk that has lost a number is found when it is read', async () => {
  await using guest = new PlayedGuest()
  const judge = new LedgerJudge('web')
  await using client = new LedgerClient(judge, '127.0.0.1', await guest.listen())
  await until(() => judge.next >= 2)
  guest.disk[1] = ''
  await client.verify()
  assert.match(judge.problem ?? '', /1 is lost/)
})

test('two copies that answer by turns are found', async () => {
  await using guest = new PlayedGuest()
  const judge = new LedgerJudge('web')
  await using _client = new LedgerClient(judge, '127.0.0.1', await guest.listen())
  await until(() => judge.boots.length === 1)
  guest.restart(two)
  await until(() => judge.boots.length === 2)
  guest.restart(one)
  await until(() => judge.problem !== undefined)
  assert.match(judge.problem ?? '', /two copies answer/)
})
