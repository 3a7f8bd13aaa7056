/**
 * The target's side of a migration.
 *
 * Who lets the guest go, when its whole state is here:
 * - `complete` without moving disks: QEMU itself, at once. It needs nobody.
 * - `complete` with moving disks: this machine's owner, as soon as QEMU says that it is complete (`arrive`): the guest's
 *   devices lock their disks against other writers only if the NBD server has let go of them before they run, and QEMU
 *   does not do that by itself. It costs no message between hosts. An owner that died meanwhile does it when it adopts the machine.
 * - `hold`: nobody before `resume`; but once post-copy has begun the source never runs again, so then at once.
 *
 * `incoming.json` in the run folder tells an arriving guest from one that somebody paused.
 */
import { HoldfastError } from '../base/errors.ts'
import type { Random } from '../base/random.ts'
import type { IncomingEndpoint, IncomingOptions } from './hypervisor.ts'
import { diskNode } from './command-line.ts'
import type { MigrateStatus } from './machine-state.ts'
import { addTlsServer, applySettings, tcpUri } from './migration-settings.ts'
import type { QemuFeatures } from './qemu-version.ts'
import type { Qmp } from './qmp.ts'

/** Above the ports that Linux hands out by itself, so that tries rarely meet one that is taken. */
const nbdPorts = { first: 61000, count: 4500 }
const nbdTries = 64

export interface IncomingDeps {
  readonly qmp: Qmp
  readonly features: QemuFeatures
  readonly random: Random
  readonly tlsDirectory: string | null
}

/** Makes QEMU listen. Rejects with `hypervisor-error` when it cannot, as for post-copy where the kernel forbids it. */
export async function listenForMigration(deps: IncomingDeps, options: IncomingOptions): Promise<IncomingEndpoint> {
  const { qmp } = deps
  const tls = options.peerTlsName === null ? null : await addTlsServer(qmp, needTls(deps), options.peerTlsName)
  await applySettings(qmp, {
    capabilities: {
      'postcopy-ram': options.allowPostCopy,
      // Disks are taken at `cont`, after the NBD server has let go of them; while held, another copy may still run.
      'late-block-activate': !runsByItself(options),
      multifd: (options.multifdChannels ?? 0) > 0,
    },
    parameters: {
      'tls-creds': tls?.creds ?? '',
      'tls-authz': tls?.authz ?? '',
      ...((options.multifdChannels ?? 0) > 0 ? { 'multifd-channels': options.multifdChannels } : {}),
    },
  })
  const nbdPort = options.nbdDisks.length === 0 ? null : await startNbd(deps, options.listenHost, options.nbdDisks, tls)
  // In this state `cont` only says what is to come: vCPUs run when the state is whole, and QEMU needs nobody for it.
  await qmp.execute(runsByItself(options) ? 'cont' : 'stop')
  await qmp.execute('migrate-incoming', {
    uri: tcpUri(options.listenHost, 0),
    ...(deps.features.incomingKeepsProcess ? { 'exit-on-error': false } : {}),
  })
  const port = portOf(await qmp.execute<MigrateStatus>('query-migrate'))
  return { port, nbdPort, exports: options.nbdDisks.map((key) => ({ key, name: diskNode(key) })) }
}

/** Whether QEMU starts the vCPUs without being told. */
export function runsByItself(options: IncomingOptions): boolean {
  return options.then === 'complete' && options.nbdDisks.length === 0
}

/**
 * Whether the owner is to let the guest go now, by the migration's status on the target. With post-copy the status says
 * that the whole package with the device state is here, without which the source would have run on.
 */
export function mayLetGo(options: IncomingOptions, status: string): boolean {
  if (runsByItself(options) || options.isGuestPaused === true) return false
  return status === 'postcopy-active' || (status === 'completed' && options.then === 'complete')
}

/** Lets an arrived guest go: the disks from the NBD server to the guest's devices, then the vCPUs. */
export async function letGo(qmp: Qmp, options: IncomingOptions): Promise<void> {
  await stopNbd(qmp, options)
  await qmp.execute('cont')
}

export async function stopNbd(qmp: Qmp, options: IncomingOptions): Promise<void> {
  if (options.nbdDisks.length > 0) await stopServer(qmp)
}

/** Nobody but the machine itself has its disks any more. */
export async function stopServer(qmp: Qmp): Promise<void> {
  await qmp.execute('nbd-server-stop').catch((thrown: unknown) => {
    // It was stopped before, by us or by whoever owned this machine before us.
    if (!(thrown instanceof HoldfastError && thrown.code === 'hypervisor-error')) throw thrown
  })
}

function needTls(deps: IncomingDeps): string {
  if (deps.tlsDirectory === null) throw new HoldfastError('refused', 'this machine was started without a TLS folder')
  return deps.tlsDirectory
}

/**
 * Opens the disks of a machine that waits to be filled from another host, as for a move; nothing else is listened for.
 * `stopCopies` ends it.
 */
export async function receiveCopies(
  deps: IncomingDeps,
  options: { readonly listenHost: string; readonly disks: readonly number[]; readonly peerTlsName: string | null },
): Promise<{ port: number; exports: readonly { key: number; name: string }[] } | null> {
  const { listenHost, disks, peerTlsName } = options
  if (disks.length === 0) return null
  const tls = peerTlsName === null ? null : await addTlsServer(deps.qmp, needTls(deps), peerTlsName)
  const port = await startNbd(deps, listenHost, disks, tls)
  return { port, exports: disks.map((key) => ({ key, name: diskNode(key) })) }
}

/** The disks are open to this host's own programs alone from now on, by a unix socket. */
export async function receiveLocally(qmp: Qmp, disks: readonly number[], socketPath: string): Promise<void> {
  await stopServer(qmp)
  await qmp.execute('nbd-server-start', { addr: { type: 'unix', data: { path: socketPath } } })
  await exportDisks(qmp, disks)
}

async function startNbd(
  deps: IncomingDeps,
  listenHost: string,
  disks: readonly number[],
  tls: { creds: string; authz: string } | null,
): Promise<number> {
  const port = await bindNbd(deps, listenHost, tls)
  await exportDisks(deps.qmp, disks)
  return port
}

async function exportDisks(qmp: Qmp, disks: readonly number[]): Promise<void> {
  for (const key of disks) {
    const node = diskNode(key)
    const exported = { type: 'nbd', id: `export-${key}`, 'node-name': node, name: node, writable: true }
    await qmp.execute('block-export-add', exported)
  }
}

/** QEMU does not tell which port it got, so one is chosen here, and another when it is taken. */
async function bindNbd(
  deps: IncomingDeps,
  listenHost: string,
  tls: { creds: string; authz: string } | null,
): Promise<number> {
  let cause: unknown
  for (let attempt = 0; attempt < nbdTries; attempt++) {
    const port = nbdPorts.first + deps.random.int(nbdPorts.count)
    try {
      await deps.qmp.execute('nbd-server-start', {
        addr: { type: 'inet', data: { host: listenHost, port: String(port) } },
        ...(tls === null ? {} : { 'tls-creds': tls.creds, 'tls-authz': tls.authz }),
      })
      return port
    } catch (thrown) {
      if (!(thrown instanceof HoldfastError && /in use/i.test(thrown.message))) throw thrown
      cause = thrown
    }
  }
  throw new HoldfastError('hypervisor-error', `no free port for moving disks in ${nbdTries} tries`, {}, { cause })
}

function portOf(status: MigrateStatus): number {
  const port = Number(status['socket-address']?.[0]?.port)
  if (!Number.isInteger(port))
    throw new HoldfastError('hypervisor-error', 'QEMU does not say on which port it waits for the migration')
  return port
}
