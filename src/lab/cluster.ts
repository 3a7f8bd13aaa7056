/**
 * From bare hosts to a cluster: a manager, the hosts joined to it, datastores, the default network, an image, two VMs.
 * All of it by the commands and the API that real machines use, and every step finds what is there already.
 */
import { HoldfastError } from '../base/errors.ts'
import { createClient, type Client } from '../contracts/client.ts'
import type { Host, Task } from '../contracts/inventory.ts'
import { addressOf, guestNetwork, managerUrl, type AddressPlan } from './address-plan.ts'
import type { GuestFiles } from './guest.ts'
import type { Lab } from './lab.ts'
import { enable, program } from './in-node.ts'
import { insideHost, managerName, nodeFolders, outsideName } from './names.ts'
import { etcdService, managerService, startEtcd } from './several-managers.ts'
import { readTail } from './read-tail.ts'
import type { LabState } from './state.ts'
import type { Progress } from './world.ts'

export interface ClientFile {
  readonly url: string
  /** Of several managers. */
  readonly urls?: readonly string[]
  readonly token: string
  /** PEM. */
  readonly ca: string
}

/** Names of what `lab up` makes. */
export const made = {
  localDatastore: (host: string) => `local-${host}`,
  sharedDatastore: 'shared',
  network: 'default',
  kernel: 'busybox-kernel',
  initrd: 'busybox-initrd',
  vms: ['alpha', 'beta'],
} as const

const joinTimeoutMs = 60_000
const readyTimeoutMs = 60_000
const taskTimeoutMs = 120_000

/** Sets the manager up where it is not, and starts it. */
export async function startManager(lab: Lab, state: LabState, say: Progress): Promise<ClientFile> {
  const own = nodeFolders(lab.folder, managerName)
  const clientFile = `${own.data}/manager/client.json`
  // Written last: an init that was cut short is gone on with.
  if ((await lab.ports.files.stat(`${own.data}/manager/manager.json`)) === undefined) {
    say('manager: a new cluster with its own certificate authority')
    const address = addressOf(state.plan, managerName, 'management')
    const store = await startEtcd(lab, state, say)
    await program(lab, managerName, ['manager', 'init', '--address', address, '--name', `lab-${lab.name}`, ...store])
  }
  await enable(lab, managerName, [...etcdService(state, managerName), managerService])
  const file = JSON.parse(await lab.ports.files.readText(clientFile)) as ClientFile
  return { ...file, url: managerUrl(state.plan) }
}

/** A client of the lab's manager that has answered. */
export async function connect(lab: Lab, file: ClientFile, timeoutMs = readyTimeoutMs): Promise<Client> {
  const client = createClient(lab.ports.network, file)
  await until(
    lab,
    timeoutMs,
    () => client.call('getCluster'),
    async () => {
      const log = await readTail(lab.ports, `${nodeFolders(lab.folder, managerName).data}/init/manager.log`)
      return `the manager does not answer on ${file.url}; its log ends with:\n${log}`
    },
  )
  return client
}

/** Joins the hosts that are not members, and waits until every one has reported. */
export async function joinHosts(
  lab: Lab,
  state: LabState,
  client: Client,
  file: ClientFile,
  say: Progress,
): Promise<void> {
  await Promise.all(state.hosts.map((host) => joinHost(lab, state, host, file, say)))
  const find = async (): Promise<Host[]> => {
    const { items } = await client.call('listHosts')
    const ready = items.filter(
      (host) => state.hosts.includes(host.name) && host.state === 'connected' && host.facts !== null,
    )
    if (ready.length < state.hosts.length) throw new HoldfastError('unreachable', 'not every host has reported')
    return ready
  }
  const hosts = await until(lab, joinTimeoutMs, find, () => missingHosts(lab, client, state))
  for (const host of hosts.sort((a, b) => a.name.localeCompare(b.name))) {
    const { facts } = host
    if (facts !== null)
      say(`${host.name}: QEMU ${facts.qemu.version}, ${facts.accelerator.kind}, ${facts.memoryMiB} MiB`)
  }
}

async function joinHost(lab: Lab, state: LabState, host: string, file: ClientFile, say: Progress): Promise<void> {
  const own = nodeFolders(lab.folder, host)
  const marker = `${own.data}/init/joined`
  if ((await lab.ports.files.stat(marker)) === undefined) {
    say(`${host}: joins with a one-time token`)
    const token = (await program(lab, managerName, ['manager', 'token'])).trim().split('\n').at(-1) ?? ''
    await program(lab, host, ['agent', 'join', file.url, '--token', token, ...joinOptions(state.plan, host)])
    await lab.ports.files.write(marker, '')
  }
  const { watchdog } = insideHost
  await enable(lab, host, [{ name: 'agent', args: ['agent', 'run', '--watchdog', watchdog] }])
}

/** A lab's host has an address on each of the three networks. Its cables need no change, so nothing is confirmed. */
function joinOptions(plan: AddressPlan, host: string): string[] {
  const addresses = [
    ...['--address', addressOf(plan, host, 'management')],
    ...['--storage-address', addressOf(plan, host, 'storage')],
    ...['--guests-address', addressOf(plan, host, 'guests')],
  ]
  return ['--name', host, ...addresses, '--yes']
}

async function missingHosts(lab: Lab, client: Client, state: LabState): Promise<string> {
  const { items } = await client.call('listHosts')
  const connected = items.filter((host) => host.state === 'connected').map((host) => host.name)
  const missing = state.hosts.filter((host) => !connected.includes(host))
  const first = missing[0] ?? state.hosts[0] ?? ''
  const log = await readTail(lab.ports, `${nodeFolders(lab.folder, first).data}/init/agent.log`)
  return `${missing.join(', ')} did not report to the manager; the agent's log on ${first} ends with:\n${log}`
}

/** Datastores and the default network, with the lab's own machine as gateway. */
export async function createResources(lab: Lab, state: LabState, client: Client, say: Progress): Promise<void> {
  const datastores = (await client.call('listDatastores')).items.map(({ name }) => name)
  const wanted = [
    ...state.hosts.map((host) => {
      return { name: made.localDatastore(host), path: insideHost.localDatastore, isShared: false, hosts: [host] }
    }),
    ...(state.hasShared ? [{ name: made.sharedDatastore, path: insideHost.sharedDatastore, isShared: true }] : []),
  ]
  for (const datastore of wanted) {
    if (datastores.includes(datastore.name)) continue
    say(`datastore ${datastore.name}`)
    await client.call('createDatastore', { body: datastore })
  }
  const networks = (await client.call('listNetworks')).items.map(({ name }) => name)
  if (!networks.includes(made.network)) {
    const { cidr, gateway, vni } = guestNetwork(state.plan)
    say(`network ${made.network}: ${cidr} by VXLAN between the hosts and this machine (${gateway})`)
    const externalPeers = [addressOf(state.plan, outsideName, 'guests')]
    await client.call('createNetwork', {
      body: { name: made.network, kind: 'vxlan', tag: vni, mtu: 1500, cidr, gateway, externalPeers },
    })
  }
  await until(
    lab,
    readyTimeoutMs,
    () => resourcesReady(state, client),
    async () => {
      const { items } = await client.call('listDatastores')
      const problems = items.flatMap(({ name, problem }) => (problem === null ? [] : [`${name}: ${problem}`]))
      return `datastores and networks do not come up on every host (${problems.join('; ')})`
    },
  )
}

async function resourcesReady(state: LabState, client: Client): Promise<void> {
  const { items } = await client.call('listHosts')
  const datastores = state.hasShared ? 2 : 1
  for (const host of items.filter(({ name }) => state.hosts.includes(name))) {
    const usable = host.datastores.filter(({ isUsable }) => isUsable).length
    const up = host.networks.filter(({ isUp }) => isUp).length
    if (usable < datastores || up < 1) throw new HoldfastError('unreachable', `${host.name} is not ready`)
  }
}

/** Uploads the guest's kernel and initrd as images. */
export async function importGuest(
  lab: Lab,
  state: LabState,
  client: Client,
  guest: GuestFiles,
  say: Progress,
): Promise<void> {
  const datastore = storageOf(state)
  await importFile(lab, client, { name: made.kernel, path: guest.kernel, datastore }, say)
  await importFile(lab, client, { name: made.initrd, path: guest.initrd, datastore }, say)
}

/** Where images and disks go when there is a choice. */
export function storageOf(state: LabState): string {
  return state.hasShared ? made.sharedDatastore : made.localDatastore(state.hosts[0] ?? '')
}

/** Makes and starts the VMs. */
export async function createVms(
  lab: Lab,
  state: LabState,
  client: Client,
  guest: GuestFiles,
  say: Progress,
): Promise<void> {
  const datastore = storageOf(state)
  const { items } = await client.call('listVms')
  const tasks: Task[] = []
  for (const name of made.vms) {
    if (items.some((vm) => vm.name === name)) continue
    say(`VM ${name}: 1 vCPU, 128 MiB, a disk of 1 GiB on ${datastore}`)
    tasks.push(
      await client.call('createVm', {
        body: {
          name,
          memoryMiB: 128,
          disks: [{ sizeBytes: 2 ** 30, datastore }],
          nics: [{ network: made.network }],
          kernel: { kernel: made.kernel, initrd: made.initrd, cmdline: guest.cmdline },
          start: true,
        },
      }),
    )
  }
  for (const task of tasks) await finish(lab, client, task)
}

interface ImageFile {
  readonly name: string
  readonly path: string
  readonly datastore: string
}

const pieceBytes = 4 * 1024 * 1024

/** Imports a file of this machine as a raw image by upload; one of this name that is there is taken as it is. */
export async function importFile(lab: Lab, client: Client, image: ImageFile, say: Progress): Promise<void> {
  const find = async () => (await client.call('listImages')).items.find(({ name }) => name === image.name)
  // One that is being imported is from an `up` that was cut short: the manager goes on with it by itself.
  const isWhole = async (): Promise<boolean> => {
    const known = await find()
    if (known?.state === 'importing')
      throw new HoldfastError('operation-in-progress', `${image.name} is being imported`)
    return known !== undefined
  }
  const explain = async (): Promise<string> => `the import of ${image.name} does not end; see \`holdfast task list\``
  if (await until(lab, taskTimeoutMs, isWhole, explain)) return
  say(`image ${image.name}`)
  const data = await lab.ports.files.read(image.path)
  const body = { sizeBytes: data.length, datastore: image.datastore }
  const upload = await client.call('createUpload', { body })
  for (let offset = 0; offset < data.length; offset += pieceBytes) {
    await client.upload(upload.id, offset, data.subarray(offset, offset + pieceBytes))
  }
  const task = await client.call('importImage', {
    body: { name: image.name, upload: upload.id, format: 'raw' },
  })
  await finish(lab, client, task)
}

/** Waits for a task's end; a task that is no longer waited for goes on. Throws what it failed with. */
export async function finish(
  lab: Pick<Lab, 'ports'>,
  client: Client,
  task: Task,
  { timeoutMs = taskTimeoutMs, signal }: { timeoutMs?: number | undefined; signal?: AbortSignal } = {},
): Promise<Task> {
  const end = lab.ports.clock.monotonic() + timeoutMs
  let now = task
  while (now.state === 'running' || now.state === 'undoing') {
    if (lab.ports.clock.monotonic() > end) {
      throw new HoldfastError('timeout', `${now.id} (${now.name}) does not end; it is in the step ${now.step ?? '?'}`)
    }
    now = await client.call('getTask', { params: { task: now.id }, query: { waitSeconds: 5 } }, { signal })
  }
  if (now.state === 'done') return now
  const { problem } = now
  throw new HoldfastError(
    'host-error',
    `${now.id} (${now.name}) ${now.state}: ${problem?.detail ?? 'no reason given'}`,
    {
      task: now.id,
      ...(problem?.mend === undefined ? {} : { mend: problem.mend }),
    },
  )
}

/** Tries until it works. Throws with what `explain` says when the time is over. */
async function until<T>(
  lab: Lab,
  timeoutMs: number,
  attempt: () => Promise<T>,
  explain: () => Promise<string>,
): Promise<T> {
  const end = lab.ports.clock.monotonic() + timeoutMs
  for (;;) {
    try {
      return await attempt()
    } catch (cause) {
      if (lab.ports.clock.monotonic() > end) {
        const why = await explain().catch(() => 'the lab does not come up')
        throw new HoldfastError('timeout', why, { mend: `Logs are in ${lab.folder}/hosts/*/data/init/.` }, { cause })
      }
      await lab.ports.clock.sleep(100)
    }
  }
}
