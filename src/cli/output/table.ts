/**
 * Tables for people. On a terminal the header is dim and a table that is too wide has its widest flexible column cut, so
 * that no line wraps; elsewhere everything is written in full and plain, two spaces between columns.
 */
import { cutTo, displayWidth, plainText, type Terminal } from '../terminal.ts'

export interface Column<Row> {
  readonly title: string
  readonly value: (row: Row) => string
  readonly align?: 'left' | 'right'
  /** May be cut on a narrow terminal, down to this many columns. */
  readonly shrinkTo?: number
}

const gap = '  '

export function tableText<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  options: { maxColumns?: number | undefined; isStyled?: boolean } = {},
): string {
  const cells = rows.map((row) => columns.map((column) => plainText(column.value(row))))
  const titles = columns.map((column) => column.title)
  const widths = columns.map((_column, at) =>
    Math.max(...[titles, ...cells].map((line) => displayWidth(line[at] ?? ''))),
  )
  if (options.maxColumns !== undefined) shrink(columns, widths, options.maxColumns)
  const line = (texts: readonly string[]): string => lineText(columns, widths, texts)
  const header = options.isStyled === true ? `\u001b[2m${line(titles)}\u001b[22m` : line(titles)
  return `${[header, ...cells.map(line)].join('\n')}\n`
}

/** Takes columns away from the widest that may give some, until the line fits or nobody has more to give. */
function shrink<Row>(columns: readonly Column<Row>[], widths: number[], maxColumns: number): void {
  const total = (): number => widths.reduce((sum, width) => sum + width, 0) + gap.length * (widths.length - 1)
  while (total() > maxColumns) {
    let widest = -1
    columns.forEach((column, at) => {
      const width = widths[at] ?? 0
      if (column.shrinkTo !== undefined && width > column.shrinkTo && width > (widths[widest] ?? 0)) widest = at
    })
    if (widest < 0) return
    widths[widest] = (widths[widest] ?? 0) - 1
  }
}

function lineText<Row>(columns: readonly Column<Row>[], widths: readonly number[], texts: readonly string[]): string {
  const parts = columns.map((column, at) => {
    const width = widths[at] ?? 0
    const text = cutTo(texts[at] ?? '', width)
    const padding = ' '.repeat(Math.max(0, width - displayWidth(text)))
    return column.align === 'right' ? padding + text : text + padding
  })
  return parts.join(gap).trimEnd()
}

/** Writes a table fit for this terminal; `empty` (on standard error) where there is no row. */
export function writeTable<Row>(
  terminal: Terminal,
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  empty: string,
): void {
  if (rows.length === 0) return terminal.err(`${empty}\n`)
  const isTty = terminal.isOutTty
  terminal.out(tableText(columns, rows, { isStyled: isTty, maxColumns: isTty ? terminal.columns() : undefined }))
}

/** `name: value` lines, the values aligned; a value of several lines is indented under its first. Undefined is left out. */
export function factsText(facts: readonly (readonly [string, string | undefined])[]): string {
  const shown = facts.filter((fact): fact is readonly [string, string] => fact[1] !== undefined)
  const width = Math.max(0, ...shown.map(([name]) => displayWidth(name)))
  return shown
    .map(([name, value]) => {
      const lines = value.split('\n').map(plainText)
      const indent = ' '.repeat(width + 2)
      return `${name}${' '.repeat(width - displayWidth(name))}  ${lines.join(`\n${indent}`)}\n`
    })
    .join('')
}
