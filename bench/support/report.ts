/** What every measurement shares: its options, the statistics, the table, and the file with all single values. */
import { mkdir, writeFile } from 'node:fs/promises'
import { cpus, loadavg } from 'node:os'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'

/** `--NAME N` for each name, with its default; anything else ends the program with a message. */
export function numberOptions<Names extends string>(defaults: Record<Names, number>): Record<Names, number> {
  const names = Object.keys(defaults) as Names[]
  const options = Object.fromEntries(names.map((name) => [name, { type: 'string' as const }]))
  const { values } = parseArgs({ options })
  const read = (name: Names): number => {
    const text = values[name]
    if (typeof text !== 'string') return defaults[name]
    const value = Number(text)
    if (!Number.isInteger(value) || value < 0) throw new Error(`--${name} takes a whole number, not "${text}"`)
    return value
  }
  return Object.fromEntries(names.map((name) => [name, read(name)])) as Record<Names, number>
}

/** Of a sorted copy, the value at or above which `1 - at` of them lie; NaN of none. */
export function quantile(values: readonly number[], at: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  if (sorted.length === 0) return Number.NaN
  const place = (sorted.length - 1) * at
  const low = sorted[Math.floor(place)] ?? Number.NaN
  const high = sorted[Math.ceil(place)] ?? Number.NaN
  return low + (high - low) * (place - Math.floor(place))
}

export const median = (values: readonly number[]): number => quantile(values, 0.5)

export interface Row {
  readonly name: string
  readonly values: readonly number[]
  /** Why there are no values. */
  readonly absent?: string
}

/** One quantity, measured for several contenders; the first row named `base` is what the ratios are against. */
export interface Table {
  readonly title: string
  readonly unit: string
  readonly base: string
  readonly rows: readonly Row[]
}

export class Report {
  readonly #name: string
  readonly #tables: Table[] = []
  readonly #facts: Record<string, unknown>

  constructor(name: string, facts: Record<string, unknown> = {}) {
    this.#name = name
    this.#facts = { cores: cpus().length, node: process.version, ...facts }
  }

  add(table: Table): void {
    this.#tables.push(table)
    process.stdout.write(`\n${tableText(table)}`)
  }

  fact(name: string, value: unknown): void {
    this.#facts[name] = value
    process.stdout.write(`${name}: ${typeof value === 'string' ? value : JSON.stringify(value)}\n`)
  }

  /** Writes bench/results/NAME.json: the facts, and every single value. */
  async write(): Promise<void> {
    const folder = resolve(import.meta.dirname, '../results')
    await mkdir(folder, { recursive: true })
    const path = `${folder}/${this.#name}.json`
    const content = { name: this.#name, facts: { ...this.#facts, load: loadavg() }, tables: this.#tables }
    await writeFile(path, `${JSON.stringify(content, null, 2)}\n`)
    process.stdout.write(
      `\nload average ${loadavg()
        .map((load) => load.toFixed(1))
        .join(' ')}; all values are in ${path}\n`,
    )
  }
}

export function tableText({ title, unit, base, rows }: Table): string {
  const baseMedian = median(rows.find((row) => row.name === base)?.values ?? [])
  const lines = rows.map(({ name, values, absent }) => {
    if (values.length === 0) return [name, absent ?? 'no values', '', '', '', '']
    const ratio = median(values) / baseMedian
    const numbers = [median(values), quantile(values, 0.9), Math.max(...values)].map(short)
    return [name, ...numbers, Number.isFinite(ratio) ? `${ratio.toFixed(2)} x` : '', String(values.length)]
  })
  const table = [[`${title} (${unit})`, 'median', 'p90', 'most', 'ratio', 'n'], ...lines]
  const widths = table[0]?.map((_, at) => Math.max(...table.map((line) => line[at]?.length ?? 0))) ?? []
  return table
    .map((line) => line.map((cell, at) => (at === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[at] ?? 0))))
    .map((line) => `${line.join('  ').trimEnd()}\n`)
    .join('')
}

function short(value: number): string {
  if (Math.abs(value) >= 1000) return value.toFixed(0)
  return value.toFixed(Math.abs(value) >= 100 ? 1 : 2)
}
