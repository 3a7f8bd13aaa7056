/** The terminal of this process. */
import { createInterface } from 'node:readline'
import type { Terminal } from './terminal.ts'

const backspace = 0x7f
const controlC = 0x03
const controlD = 0x04

export function processTerminal(): Terminal {
  const { stdin, stdout, stderr } = process
  // A reader that went away (`| head`) is no failure.
  for (const stream of [stdout, stderr]) stream.on('error', () => process.exit(0))
  const interrupts = new Interrupts()
  return {
    isOutTty: stdout.isTTY,
    isErrTty: stderr.isTTY,
    isInTty: stdin.isTTY,
    columns: () => (stdout.isTTY ? stdout.columns : stderr.isTTY ? stderr.columns : 80),
    out: (data) => void stdout.write(data),
    err: (text) => void stderr.write(text),
    input: stdin,
    rawInput,
    ask: (question, options) => {
      stderr.write(question)
      return options?.isSecret === true && stdin.isTTY ? readSecret() : readLine()
    },
    onInterrupt: (handler) => interrupts.add(handler),
  }
}

function rawInput(): Disposable {
  const { stdin } = process
  const restore = (): void => {
    process.off('exit', restore)
    stdin.setRawMode(false)
  }
  stdin.setRawMode(true)
  process.on('exit', restore)
  return { [Symbol.dispose]: restore }
}

/** The kernel edits the line, so Ctrl-C stays a signal. */
function readLine(): Promise<string | undefined> {
  return new Promise((resolve) => {
    const reader = createInterface({ input: process.stdin, terminal: false })
    let line: string | undefined
    reader.once('line', (text) => {
      line = text
      reader.close()
    })
    reader.once('close', () => {
      process.stdin.pause()
      resolve(line)
    })
  })
}

/** A line that nobody sees: no echo. Ctrl-C and Ctrl-D give it up. */
async function readSecret(): Promise<string | undefined> {
  using _raw = rawInput()
  const bytes: number[] = []
  const { stdin } = process
  // Awaited here: keys stay unseen until the line is whole.
  return await new Promise((resolve) => {
    const done = (line: string | undefined): void => {
      stdin.off('data', onData)
      stdin.pause()
      process.stderr.write('\n')
      resolve(line)
    }
    const onData = (chunk: Buffer): void => {
      for (const byte of chunk) {
        if (byte === controlC || (byte === controlD && bytes.length === 0)) return done(undefined)
        if (byte === 0x0d || byte === 0x0a) return done(Buffer.from(bytes).toString('utf8'))
        if (byte === backspace) bytes.pop()
        else bytes.push(byte)
      }
    }
    stdin.on('data', onData)
    stdin.resume()
  })
}

/** Signals are taken only while somebody has asked for them, so that roles which handle their own are left alone. */
class Interrupts {
  readonly #handlers: (() => void)[] = []
  readonly #onSignal = (): void => this.#handlers.at(-1)?.()

  add(handler: () => void): Disposable {
    if (this.#handlers.length === 0) {
      process.on('SIGINT', this.#onSignal)
      process.on('SIGTERM', this.#onSignal)
    }
    this.#handlers.push(handler)
    return {
      [Symbol.dispose]: () => {
        const at = this.#handlers.indexOf(handler)
        if (at < 0) return
        this.#handlers.splice(at, 1)
        if (this.#handlers.length > 0) return
        process.off('SIGINT', this.#onSignal)
        process.off('SIGTERM', this.#onSignal)
      },
    }
  }
}
