import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fakeManager, fakeTerminal, fakeWorld, hastyClock } from '../testing/fake-surroundings.ts'
import { page, sampleVm } from '../testing/samples.ts'

let folder = ''
before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-completion-'))
  const world = fakeWorld(fakeManager({}))
  assert.equal(await world.run('completion', 'bash'), 0, world.terminal.written.err)
  writeFileSync(join(folder, 'bash'), world.terminal.written.out)
  // Stands for the program where the script asks for names.
  writeFileSync(join(folder, 'holdfast'), '#!/bin/sh\n[ "$1 $2" = "__names vm" ] && printf "web\\nmy db\\n"\n', {
    mode: 0o755,
  })
  writeFileSync(join(folder, 'disk.img'), '')
})
after(() => rmSync(folder, { recursive: true }))

/** What bash offers after these words, the last of them unfinished. */
function offered(...words: string[]): string[] {
  const script = `source ./bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _holdfast; printf '%s\\n' "\${COMPREPLY[@]}"`
  const text = execFileSync('bash', ['-c', script, 'bash', './holdfast', ...words], { cwd: folder, encoding: 'utf8' })
  return text.split('\n').filter((line) => line !== '')
}

test('nouns, verbs and options are offered where they belong', () => {
  assert.deepEqual(offered('da'), ['datastore'])
  assert.deepEqual(offered('vm', 'st'), ['start', 'stop'])
  assert.deepEqual(offered('vm', 'migrate', '--da'), ['--datastore'])
  assert.deepEqual(offered('lab', 'storage', 'c'), ['cut'])
})

test('values of options are offered: words, names, files', () => {
  assert.deepEqual(offered('vm', 'create', 'x', '--firmware', 'u'), ['uefi'])
  assert.deepEqual(offered('image', 'import', 'x', '--file', 'di'), ['disk.img'])
  assert.deepEqual(offered('--token-file', 'di'), ['disk.img'])
})

test('names come from the manager, quoted for the shell', () => {
  assert.deepEqual(offered('vm', 'show', ''), ['web', 'my\\ db'])
  assert.deepEqual(offered('vm', 'start', '--timeout', '5', 'w'), ['web'])
})

test('words before and values between do not confuse it', () => {
  assert.deepEqual(offered('--json', '--url', 'vm', 'task', 'wa'), ['wait'])
})

test('programs that the lab starts itself are not offered', () => {
  assert.ok(!offered('lab', '').includes('internal'))
})

test('names that cannot be had are simply not offered', async () => {
  const patient = { ...hastyClock(), sleep: () => new Promise<void>(() => undefined) }
  const world = fakeWorld(fakeManager({ listVms: () => page(sampleVm()) }), { clock: patient })
  assert.equal(await world.run('__names', 'vm'), 0)
  assert.equal(world.terminal.written.out, 'web\n')
  const none = fakeWorld(fakeManager({}), { terminal: fakeTerminal() })
  assert.equal(await none.run('__names', 'host'), 0)
  assert.deepEqual(none.terminal.written, { out: '', err: '' })
})
