/**
 * The storage array: one process that stands between every host of a lab and its storage, outside of the hosts. Each host
 * has a FUSE mount, served by a thread of its own; `fault` makes it hang, fail or crawl, for files that are open too.
 * A mount lives as long as this process: when it is killed, the hosts' storage fails until they are booted anew.
 */
import { closeSync, openSync } from 'node:fs'
import { spawnSync } from 'node:child_process'
import { statfs } from 'node:fs/promises'
import { Worker } from 'node:worker_threads'
import { HoldfastError } from '../../base/errors.ts'
import { serveLines, textField, type Message } from '../lines.ts'
import { isMounted } from '../mounts.ts'
import { sockets, storageFolders } from '../names.ts'
import type { LabPorts } from '../ports.ts'
import { controlCount, controlIndex, storageMode, type MountThreadData } from './controls.ts'

const mountOptions = 'fd=3,rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions'

interface HostMount {
  readonly path: string
  readonly controls: Int32Array
}

/** Serves until the process ends. */
export async function serveArray(ports: LabPorts, folder: string): Promise<void> {
  const mounts = new Map<string, HostMount>()
  const find = (host: string): HostMount => {
    const mount = mounts.get(host)
    if (mount === undefined) throw new HoldfastError('not-found', `the array has no mount for ${host}`)
    return mount
  }
  await serveLines(ports, sockets(folder).array, async (message) => {
    const host = textField(message, 'host')
    switch (message['verb']) {
      case 'mount':
        if (!mounts.has(host)) mounts.set(host, await mount(ports, folder, host, () => mounts.delete(host)))
        return {}
      case 'fault':
        await setFault(find(host), message)
        return {}
      case 'drop':
        if (mounts.has(host)) await wake(find(host), (controls) => Atomics.store(controls, controlIndex.dropHeld, 1))
        return {}
      case 'status':
        return { hosts: [...mounts.keys()] }
      default:
        throw new HoldfastError('invalid-request', `the array knows no verb ${textField(message, 'verb')}`)
    }
  })
}

async function mount(ports: LabPorts, folder: string, host: string, onEnd: () => void): Promise<HostMount> {
  const place = storageFolders(folder, host)
  // What a killed array has left: a mount that answers nobody.
  if (await isMounted(ports, place.mount)) spawnSync('umount', ['-n', '-l', place.mount])
  const fd = openSync('/dev/fuse', 'r+')
  const args = ['-n', '-i', '-t', 'fuse.holdfast', '-o', mountOptions, 'holdfast-lab', place.mount]
  const result = spawnSync('mount', args, { stdio: ['ignore', 'ignore', 'pipe', fd], encoding: 'utf8' })
  if (result.status !== 0) {
    throw new HoldfastError('host-error', `the storage of ${host} cannot be mounted: ${result.stderr.trim()}`, {
      mend: 'The lab needs FUSE: see whether /dev/fuse is there and `modprobe fuse` works.',
    })
  }
  const controls = new SharedArrayBuffer(4 * controlCount)
  const data: MountThreadData = { root: place.behind, fd, controls }
  const thread = new Worker(new URL('./mount-thread.ts', import.meta.url), { workerData: data })
  thread.on('error', (cause: Error) => {
    console.error(JSON.stringify({ level: 'error', message: 'a storage path ended', host, err: cause.message }))
  })
  thread.on('exit', () => {
    closeSync(fd)
    onEnd()
  })
  return { path: place.mount, controls: new Int32Array(controls) }
}

async function setFault(target: HostMount, message: Message): Promise<void> {
  const mode = storageMode[message['mode'] as keyof typeof storageMode] as number | undefined
  if (mode === undefined) throw new HoldfastError('invalid-request', 'no such storage fault')
  await wake(target, (controls) => {
    Atomics.store(controls, controlIndex.latencyMs, Number(message['latencyMs'] ?? 0))
    Atomics.store(controls, controlIndex.kibPerSecond, Number(message['kibPerSecond'] ?? 0))
    Atomics.store(controls, controlIndex.mode, mode)
  })
}

/** The thread waits in a read: after the change a request of our own makes it look. */
async function wake(target: HostMount, change: (controls: Int32Array) => void): Promise<void> {
  change(target.controls)
  Atomics.notify(target.controls, controlIndex.mode)
  await statfs(target.path).catch(() => undefined)
}
