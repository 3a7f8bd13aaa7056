/**
 * What the self-test has about it, in a network namespace that is its own: a bridge with a tap for each QEMU, a certificate
 * for both pumps and the arbiter, and the guest as a file.
 */
import { join } from 'node:path'
import { HoldfastError } from '../../../base/errors.ts'
import type { Files } from '../../../base/files.ts'
import type { Processes } from '../../../base/processes.ts'
import { guestCode, guestReset } from '../../../hypervisor/selftest-guest/image.ts'

/** In the certificate. */
export const selftestName = 'selftest.holdfast'
export const tapNames = ['hfst0', 'hfst1'] as const
/** As the guest has it in its frames. */
export const guestMac = '52:54:00:88:77:50'
export const listenAddress = { host: '10.88.77.1', port: 7001 }

const bridgeMac = '02:00:00:88:77:01'
const biosBytes = 64 * 1024
const network = `PATH=$PATH:/usr/sbin:/sbin
set -e
ip link set lo up
ip link add hfst type bridge
ip link set hfst address ${bridgeMac} up
ip address add ${listenAddress.host}/24 dev hfst
for tap in ${tapNames.join(' ')}; do
  ip tuntap add $tap mode tap vnet_hdr
  ip link set $tap up master hfst
done`

interface Ports {
  readonly files: Files
  readonly processes: Processes
}

/** Gives the path of the guest. */
export async function makeSurroundings(ports: Ports, folder: string): Promise<string> {
  await run(ports, 'sh', ['-c', network])
  await makeIdentity(ports, folder)
  const path = join(folder, 'guest.bios')
  const image = Buffer.alloc(biosBytes)
  image.set(Buffer.from(guestCode, 'base64'))
  image.set(Buffer.from(guestReset, 'base64'), biosBytes - 16)
  await ports.files.write(path, image)
  return path
}

/** A certificate that is its own authority, as the pumps read a host's. */
async function makeIdentity(ports: Ports, folder: string): Promise<void> {
  const [key, certificate] = [join(folder, 'key.pem'), join(folder, 'certificate.pem')]
  await run(ports, 'openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
    ...['-config', '/dev/null', '-subj', `/CN=${selftestName}`, '-addext', `subjectAltName=DNS:${selftestName}`],
    ...['-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'extendedKeyUsage=serverAuth,clientAuth'],
    ...['-keyout', key, '-out', certificate],
  ])
  const pem = await ports.files.readText(certificate)
  const identity = { tlsName: selftestName, ca: pem, certificate: pem }
  await ports.files.write(join(folder, 'identity.json'), JSON.stringify(identity))
}

async function run({ processes }: Ports, command: string, args: readonly string[]): Promise<void> {
  const { code, stderr } = await processes.run(command, args)
  if (code !== 0) throw new HoldfastError('host-error', `${command} says: ${stderr.trim()}`)
}
