/** A certificate authority and a host's certificates, as QEMU's `dir=` wants them. */
import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const openssl = (cwd: string, ...args: string[]): void => void execFileSync('openssl', args, { cwd, stdio: 'pipe' })

/** Makes `folder/ca`. */
export function makeAuthority(folder: string): void {
  const ca = join(folder, 'ca')
  mkdirSync(ca, { recursive: true })
  openssl(
    ca,
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-days',
    '2',
    '-subj',
    '/CN=test authority',
    '-keyout',
    'key.pem',
    '-out',
    'cert.pem',
  )
}

/** Makes `folder/NAME` with the files for both ends; gives its path. */
export function makeHost(folder: string, name: string): string {
  const directory = join(folder, name)
  const ca = join(folder, 'ca')
  mkdirSync(directory, { recursive: true })
  copyFileSync(join(ca, 'cert.pem'), join(directory, 'ca-cert.pem'))
  const extensions = `subjectAltName=DNS:${name}\\nkeyUsage=digitalSignature,keyEncipherment\\nextendedKeyUsage=serverAuth,clientAuth\\nbasicConstraints=CA:FALSE\\n`
  writeFileSync(join(directory, 'ext'), extensions.replaceAll('\\n', '\n'))
  openssl(
    directory,
    'req',
    '-new',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-subj',
    `/O=Holdfast/CN=${name}`,
    '-keyout',
    'server-key.pem',
    '-out',
    'request.pem',
  )
  openssl(
    directory,
    'x509',
    '-req',
    '-in',
    'request.pem',
    '-CA',
    join(ca, 'cert.pem'),
    '-CAkey',
    join(ca, 'key.pem'),
    '-CAcreateserial',
    '-days',
    '2',
    '-extfile',
    'ext',
    '-out',
    'server-cert.pem',
  )
  copyFileSync(join(directory, 'server-cert.pem'), join(directory, 'client-cert.pem'))
  copyFileSync(join(directory, 'server-key.pem'), join(directory, 'client-key.pem'))
  return directory
}
