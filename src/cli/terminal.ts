/** The terminal, passed in: what is written, what is asked, and who is told of Ctrl-C. */
import type { Readable } from 'node:stream'

export interface Terminal {
  readonly isOutTty: boolean
  readonly isErrTty: boolean
  readonly isInTty: boolean
  /** Columns of the terminal; 80 where there is none. */
  columns(): number
  out(data: string | Uint8Array): void
  err(text: string): void
  /** Standard input as bytes. */
  readonly input: Readable
  /** Hands every key to the program (no echo, no line editing, no Ctrl-C signal) until disposed. */
  rawInput(): Disposable
  /** One line from a person; undefined at the end of input. `isSecret` echoes nothing. */
  ask(question: string, options?: { isSecret?: boolean }): Promise<string | undefined>
  /** The newest handler is called on Ctrl-C or SIGTERM; with none the program ends with 130. */
  onInterrupt(handler: () => void): Disposable
}

/** Text of others (names, messages) with control characters made visible, so that it cannot drive the terminal. */
export function plainText(text: string): string {
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, '·')
}

/** Columns that a text takes: East Asian wide characters and emoji take two, combining marks none. */
export function displayWidth(text: string): number {
  let width = 0
  for (const character of text) width += characterWidth(character.codePointAt(0) ?? 0)
  return width
}

function characterWidth(code: number): number {
  if (code < 0x300) return 1
  if (code <= 0x36f || (code >= 0x200b && code <= 0x200f) || (code >= 0xfe00 && code <= 0xfe0f)) return 0
  const isWide =
    (code >= 0x1100 && code <= 0x115f) ||
    (code >= 0x2e80 && code <= 0xa4cf) ||
    (code >= 0xac00 && code <= 0xd7a3) ||
    (code >= 0xf900 && code <= 0xfaff) ||
    (code >= 0xfe30 && code <= 0xfe6f) ||
    (code >= 0xff00 && code <= 0xff60) ||
    (code >= 0x1f300 && code <= 0x1faff) ||
    (code >= 0x20000 && code <= 0x3fffd)
  return isWide ? 2 : 1
}

/** The text cut to at most `columns`, the last of them an ellipsis where something is missing. */
export function cutTo(text: string, columns: number): string {
  if (displayWidth(text) <= columns) return text
  let kept = ''
  let width = 0
  for (const character of text) {
    width += characterWidth(character.codePointAt(0) ?? 0)
    if (width > columns - 1) break
    kept += character
  }
  return `${kept}…`
}
