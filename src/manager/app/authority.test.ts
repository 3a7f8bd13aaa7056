import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { nodeClock, nodeFiles, nodeProcesses, nodeRandom } from '../../base/node/index.ts'
import { HoldfastError } from '../../base/errors.ts'
import { formatJoinToken, readJoinToken } from '../../contracts/join-token.ts'
import { Authority, certificateDays, fingerprintOf, type AuthorityPorts } from './authority.ts'

let folder = ''
const ports: AuthorityPorts = {
  files: nodeFiles(),
  processes: nodeProcesses(),
  clock: nodeClock(),
  random: nodeRandom(),
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-authority-'))
})
after(() => rm(folder, { recursive: true }))

test('a certificate of the authority serves both ends, bears its names and begins in the past', async () => {
  const authority = await Authority.create(`${folder}/a`, 'lab', ports)
  const pair = await authority.issue({ commonName: 'host-3.holdfast', subjects: ['host-3.holdfast', '10.0.0.3'] })
  const certificate = new X509Certificate(pair.cert)
  assert.ok(certificate.verify(new X509Certificate(authority.ca).publicKey))
  assert.ok(certificate.checkIssued(new X509Certificate(authority.ca)))
  assert.equal(certificate.checkHost('host-3.holdfast'), 'host-3.holdfast')
  assert.equal(certificate.checkIP('10.0.0.3'), '10.0.0.3')
  assert.deepEqual([...(certificate.keyUsage ?? [])].sort(), ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2'])
  const text = await ports.processes.run('openssl', ['x509', '-noout', '-text'], { input: pair.cert })
  assert.match(text.stdout, /Digital Signature, Key Encipherment/)
  assert.ok(Date.parse(certificate.validFrom) < Date.now() - 50 * 60_000)
  const days = (Date.parse(certificate.validTo) - Date.now()) / 86_400_000
  assert.ok(Math.abs(days - certificateDays) < 1)
  assert.equal((await stat(`${folder}/a/ca.key`)).mode & 0o777, 0o600)
  assert.deepEqual((await readdir(`${folder}/a`)).sort(), ['ca.crt', 'ca.key'])
  assert.match(fingerprintOf(pair.cert), /^[0-9a-f]{64}$/)
})

test('the names in a request are ignored; ours are taken', async () => {
  const authority = await Authority.create(`${folder}/b`, 'lab', ports)
  const key = await ports.processes.run('openssl', [
    ...['req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', `${folder}/k`],
    ...['-subj', '/CN=manager.holdfast', '-addext', 'subjectAltName=DNS:manager.holdfast'],
  ])
  const cert = new X509Certificate(
    await authority.sign(key.stdout, { commonName: 'host-1.holdfast', subjects: ['host-1.holdfast'] }),
  )
  assert.equal(cert.checkHost('manager.holdfast', { subject: 'never' }), undefined)
  assert.match(cert.subject, /CN=host-1\.holdfast/)
})

test('a request that is not one is refused with a clear error', async () => {
  const authority = await Authority.create(`${folder}/c`, 'lab', ports)
  await assert.rejects(
    authority.sign('-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n', {
      commonName: 'x',
      subjects: ['x'],
    }),
    (error) => error instanceof HoldfastError && error.code === 'invalid-request',
  )
  await assert.rejects(Authority.create(`${folder}/c`, 'lab', ports), /already/)
  await assert.rejects(Authority.open(`${folder}/none`, ports), /manager init|no certificate authority/)
})

test("the server's pair is kept while it is good and made anew when a name is missing or its end is near", async () => {
  const authority = await Authority.create(`${folder}/d`, 'lab', ports)
  const names = { commonName: 'manager.holdfast', subjects: ['manager.holdfast', '127.0.0.1'] }
  const first = await authority.serverPair(`${folder}/d/server`, names)
  assert.deepEqual(await authority.serverPair(`${folder}/d/server`, names), first)
  const more = { ...names, subjects: [...names.subjects, '10.1.1.1'] }
  const second = await authority.serverPair(`${folder}/d/server`, more)
  assert.notEqual(second.cert, first.cert)
  const late = { ...ports, clock: { ...ports.clock, now: () => Date.now() + 300 * 86_400_000 } }
  const reopened = await Authority.open(`${folder}/d`, late)
  assert.notEqual((await reopened.serverPair(`${folder}/d/server`, more)).cert, second.cert)
})

test('a join token carries the CA and is read back whole', async () => {
  const authority = await Authority.create(`${folder}/e`, 'lab', ports)
  const text = formatJoinToken({ secret: 'abcdefghijklmnopqrstuvwxyz', ca: authority.ca })
  const read = readJoinToken(` ${text}\n`)
  assert.equal(read?.secret, 'abcdefghijklmnopqrstuvwxyz')
  assert.equal(fingerprintOf(read.ca), fingerprintOf(authority.ca))
  assert.equal(readJoinToken(text.slice(0, 60)), undefined)
})
