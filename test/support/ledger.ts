/**
 * A client that lets the guest write numbers down: the guest puts each into a record of its own on its disk, flushed, and
 * only then acknowledges it. Whatever dies meanwhile, each number that was acknowledged is on the disk, and each is
 * acknowledged once.
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import type { GuestLine } from './guest-line.ts'
import type { TestLab } from './lab.ts'

const port = 7002
const recordBytes = 512
const device = '/dev/vda'

export class Ledger implements Disposable {
  readonly #socket: Socket
  readonly #problems: string[] = []
  #rest = ''
  /** Numbers below this were acknowledged. */
  acknowledged = 0
  #isClosing = false

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.setNoDelay(true)
    socket.on('data', (data) => this.#hear(data.toString('latin1')))
    socket.on('error', (error) => this.#problems.push(error.message))
    socket.on('close', () => this.#isClosing || this.#problems.push('closed'))
  }

  /** Starts the guest's side and writes the first numbers. */
  static async open(lab: TestLab, line: GuestLine, address: string): Promise<Ledger> {
    await line.run(`ledger serve ${device}`)
    return await lab.eventually('the ledger answers', async () => {
      const opened = new Ledger(connect({ host: address, port }))
      opened.#send()
      const until = lab.ports.clock.monotonic() + 3000
      while (opened.acknowledged === 0 && lab.ports.clock.monotonic() < until) await lab.ports.clock.sleep(20)
      if (opened.acknowledged > 0) return opened
      opened[Symbol.dispose]()
      return undefined
    })
  }

  /** Resolves when so many more were acknowledged. */
  async goesOn(lab: TestLab, more: number): Promise<void> {
    const from = this.acknowledged
    const look = async (): Promise<boolean> => this.acknowledged >= from + more || this.#problems.length > 0
    await lab.eventually(`the ledger goes on from ${from}`, look, 60_000)
    assert.deepEqual(this.#problems, [])
  }

  /** Everything that was acknowledged is on the guest's disk. */
  async verify(line: GuestLine): Promise<void> {
    const count = this.acknowledged
    await line.run('sync; echo 3 >/proc/sys/vm/drop_caches')
    const sum = await line.run(`dd if=${device} bs=${recordBytes} count=${count} 2>/dev/null | tr -d ' ' | sha256sum`)
    const wanted = createHash('sha256')
    for (let n = 0; n < count; n++) wanted.update(`${n}\n`)
    assert.equal(sum.split(' ')[0], wanted.digest('hex'), `of ${count} numbers some are not on the disk`)
  }

  #send(): void {
    this.#socket.write(`${this.acknowledged}\n`)
  }

  #hear(text: string): void {
    const lines = (this.#rest + text).split('\n')
    this.#rest = lines.pop() ?? ''
    for (const line of lines) {
      if (line !== String(this.acknowledged))
        this.#problems.push(`${line} was acknowledged in place of ${this.acknowledged}`)
      this.acknowledged++
      this.#send()
    }
  }

  [Symbol.dispose](): void {
    this.#isClosing = true
    this.#socket.destroy()
  }
}
