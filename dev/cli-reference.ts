/** Writes docs/cli.md from the commands. `node dev/cli-reference.ts`; with `--check` only says whether it is up to date. */
import { readFileSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { referencePage } from '../src/cli/reference.ts'

const path = resolve(import.meta.dirname, '../docs/cli.md')
const page = await referencePage()
if (!process.argv.includes('--check')) writeFileSync(path, page)
else if (readFileSync(path, 'utf8') !== page) {
  process.stderr.write('docs/cli.md is not what the commands say: run `node dev/cli-reference.ts`\n')
  process.exitCode = 1
}
