/** A small guest's serial line as a user has it: by a one-use ticket of the manager. */
import assert from 'node:assert/strict'
import type { Duplex } from 'node:stream'
import type { TestLab } from './lab.ts'

export class GuestLine implements Disposable {
  readonly #lab: TestLab
  readonly #stream: Duplex
  #count = 0
  text = ''

  private constructor(lab: TestLab, stream: Duplex) {
    this.#lab = lab
    this.#stream = stream
    stream.on('data', (data: Buffer) => (this.text += data.toString('latin1')))
    stream.on('error', () => undefined)
  }

  /** Resolves when the guest's shell answers. A VM has one line, which one at a time can hold, also while the VM moves. */
  static async open(lab: TestLab, vm: string): Promise<GuestLine> {
    // The agent, or the manager, may just be coming back.
    const stream = await lab.eventually('a serial line', async () => {
      const { url } = await lab.client.call('createTicket', { params: { vm }, body: { kind: 'serial' } })
      return await lab.client.openConsole(url)
    })
    const line = new GuestLine(lab, stream)
    try {
      // What is typed before the guest's shell is there is lost.
      await lab.eventually('a shell on the serial line', async () => {
        line.#stream.write('\n')
        await lab.ports.clock.sleep(250)
        return /# (\x1b\[6n)?$/.test(line.text)
      })
      return line
    } catch (thrown) {
      line[Symbol.dispose]()
      throw thrown
    }
  }

  /** Types a command and gives what it printed. */
  async run(command: string, timeoutMs = 60_000): Promise<string> {
    const mark = `M${process.pid}x${this.#count++}`
    const from = this.text.length
    // The mark is typed in two pieces, so that the echo of the line is not taken for its output.
    this.#stream.write(`echo "<"${mark}; ${command}; echo ">"${mark}\n`)
    const done = new RegExp(`<${mark}\\r?\\n([^]*)>${mark}`)
    const look = async (): Promise<string | undefined> => done.exec(this.text.slice(from))?.[1]?.trim()
    return await this.#lab.eventually(`the end of ${command}`, look, timeoutMs)
  }

  /** Writes blocks that check themselves to a disk of the guest. */
  async writeDisk(generation: number, device = '/dev/vda', blocks = 256): Promise<void> {
    assert.match(await this.run(`disk write ${device} ${blocks} ${generation}`), /disk: wrote/)
  }

  /** Reads them back, past the guest's cache. */
  async verifyDisk(generation: number, device = '/dev/vda', blocks = 256): Promise<void> {
    assert.match(await this.run(`disk verify ${device} ${blocks} ${generation}`), /disk: good/)
  }

  [Symbol.dispose](): void {
    this.#stream.destroy()
  }
}
