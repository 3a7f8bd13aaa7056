/** The forms in which answers are written: JSON for programs, tables and sentences for people. */
import type { Cli } from '../cli.ts'
import { plainText } from '../terminal.ts'
import { factsText, writeTable, type Column } from './table.ts'

export function writeJson(cli: Cli, value: unknown): void {
  cli.terminal.out(`${JSON.stringify(value, null, 2)}\n`)
}

/** A list: with --json an array of the objects, else a table. */
export function writeList<Row>(cli: Cli, rows: readonly Row[], columns: readonly Column<Row>[], empty: string): void {
  if (cli.flags.json) writeJson(cli, rows)
  else writeTable(cli.terminal, columns, rows, empty)
}

/** One object: with --json as it is, else `name: value` lines. */
export function writeFacts(cli: Cli, value: unknown, facts: readonly (readonly [string, string | undefined])[]): void {
  if (cli.flags.json) writeJson(cli, value)
  else cli.terminal.out(factsText(facts))
}

/** A sentence for people; programs get the object. */
export function writeDone(cli: Cli, value: unknown, sentence: string): void {
  if (cli.flags.json) writeJson(cli, value)
  else cli.terminal.out(`${plainText(sentence)}\n`)
}
