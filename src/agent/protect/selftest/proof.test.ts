import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryFiles } from '../../../sim/memory-files.ts'
import { proofPath, proofProblem, readProof, type SelftestGround, type SelftestProof } from './proof.ts'

const ground: SelftestGround = {
  accelerator: 'kvm',
  qemu: '10.0.2 (Debian 1:10.0.2+ds-2)',
  kernel: '6.12.38+deb13-amd64',
  cpu: 'AMD EPYC 7443P',
  tracker: 'userfaultfd',
}
const proof: SelftestProof = { v: 1, ground, takeovers: 1000, epochs: 21_000, passedAt: '2026-05-01T10:00:00.000Z' }

test('a proof counts for what it was made with, and for nothing else', () => {
  assert.equal(proofProblem(proof, ground), null)
  assert.match(proofProblem(undefined, ground) ?? '', /not been proved/)
  assert.match(proofProblem({ ...proof, takeovers: 999 }, ground) ?? '', /only 999 takeovers/)
  for (const [name, other] of Object.entries({ qemu: '10.0.3', kernel: '6.13.1', cpu: 'Xeon', tracker: 'comparison' }))
    assert.match(
      proofProblem(proof, { ...ground, [name]: other }) ?? '',
      new RegExp(`proved with ${name} .*now ${other}`),
    )
})

test('a proof is read as it was written; one that is damaged is none', async () => {
  const files = new MemoryFiles()
  assert.equal(await readProof(files, '/data'), undefined)
  await files.makeDirectory('/data')
  await files.replace(proofPath('/data'), JSON.stringify(proof))
  assert.deepEqual(await readProof(files, '/data'), proof)
  for (const broken of [
    '',
    '{}',
    JSON.stringify({ ...proof, takeovers: '1000' }),
    JSON.stringify({ ...proof, v: 2 }),
  ]) {
    await files.replace(proofPath('/data'), broken)
    assert.equal(await readProof(files, '/data'), undefined)
  }
})
