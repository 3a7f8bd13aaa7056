// modules-match.mjs ROOT all|production: exits with 0 when node_modules holds what package-lock.json names, going by
// the record that npm keeps there of what it installed. Plain JavaScript: it runs before any library is there.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const [root = '.', kind = 'all'] = process.argv.slice(2)

function packagesOf(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8')).packages ?? {}
  } catch {
    return undefined
  }
}

const wanted = packagesOf(join(root, 'package-lock.json'))
const present = packagesOf(join(root, 'node_modules/.package-lock.json'))

function isThere([path, entry]) {
  if (!path.startsWith('node_modules/')) return true
  if (entry.dev && kind === 'production') return true
  const found = present[path]
  // What is optional may be for another system; npm leaves that out.
  if (found === undefined) return entry.optional === true || entry.devOptional === true
  return found.version === entry.version && found.integrity === entry.integrity && existsSync(join(root, path))
}

process.exitCode = wanted !== undefined && present !== undefined && Object.entries(wanted).every(isThere) ? 0 : 1
