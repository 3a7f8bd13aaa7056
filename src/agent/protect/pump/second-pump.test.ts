import assert from 'node:assert/strict'
import { duplexPair } from 'node:stream'
import { test } from 'node:test'
import type { HostId, VmId } from '../../../base/ids.ts'
import { silentLogger } from '../../../base/log.ts'
import { nodeClock } from '../../../base/node/index.ts'
import { defaultProtectionSettings } from '../../../contracts/protection.ts'
import { MemoryFiles } from '../../../sim/memory-files.ts'
import { FrameReader, writeWord } from './frames.ts'
import { PumpMemoryFile } from './memory-file.ts'
import { noSecondDisks } from './second-disks.ts'
import { SecondPump, type SecondDeps } from './second-pump.ts'
import { parseWord, wordsVersion, type Word } from './words.ts'

const vm = 'vm-1' as VmId
const config = { vm, n: 3, primary: 'host-1' as HostId, second: 'host-2' as HostId, arbiter: 'host-3' as HostId }

/** A second that nobody has spoken to yet. */
function candidate(): { pump: SecondPump; files: MemoryFiles } {
  const files = new MemoryFiles()
  const memory = new PumpMemoryFile(files, '/data', vm)
  const used = { clock: nodeClock(), log: silentLogger, files, memory, onStatus: () => undefined }
  const order = { vm, config, settings: defaultProtectionSettings, runDirectory: '/run', copies: [] }
  const qmp = { closed: new Promise(() => undefined) }
  const pump = new SecondPump(
    used as unknown as SecondDeps,
    order as unknown as ConstructorParameters<typeof SecondPump>[1],
    {} as ConstructorParameters<typeof SecondPump>[2],
    qmp as unknown as ConstructorParameters<typeof SecondPump>[3],
    noSecondDisks,
  )
  return { pump, files }
}

for (const version of [undefined, wordsVersion + 1])
  test(`a primary that speaks in another version (${version}) is told so, and the second gives up`, async () => {
    const { pump, files } = candidate()
    const [here, there] = duplexPair()
    const heard: Word[] = []
    const reader = new FrameReader(2 ** 20, ({ bytes }) => heard.push(parseWord(bytes)))
    here.on('data', (chunk: Buffer) => reader.take(chunk))
    const over = pump.run()
    pump.accept('data', there)
    const said = version === undefined ? {} : { v: version }
    writeWord(here, { is: 'hello', ...said, vm, n: 3, link: 'data' } satisfies Word)
    assert.equal(await over, 'dropped')
    assert.equal(pump.status.phase, 'dropped')
    const [refusal] = heard.filter(({ is }) => is === 'refused')
    assert.ok(refusal?.is === 'refused' && /upgrade both hosts to one version/.test(refusal.why), JSON.stringify(heard))
    assert.match(await files.readText('/data/vms/vm-1/protection.json'), /"phase":"dropped"/)
  })

test('who belongs to another pair is turned away, and the second waits on', async () => {
  const { pump } = candidate()
  const [here, there] = duplexPair()
  const over = pump.run()
  pump.accept('data', there)
  const closed = new Promise((resolve) => here.once('end', resolve).resume())
  writeWord(here, { is: 'hello', v: wordsVersion, vm, n: 2, link: 'data' } satisfies Word)
  await closed
  assert.equal(pump.status.phase, 'candidate')
  await pump.drop()
  assert.equal(await over, 'dropped')
})
