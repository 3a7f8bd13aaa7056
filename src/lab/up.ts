/** `lab up` and `lab down`: the whole of it, in order. */
import { HoldfastError } from '../base/errors.ts'
import type { Client } from '../contracts/client.ts'
import {
  connect,
  createResources,
  createVms,
  importGuest,
  joinHosts,
  startManager,
  type ClientFile,
} from './cluster.ts'
import { setFences } from './fences.ts'
import { installPackages, smallGuest } from './guest.ts'
import type { Lab } from './lab.ts'
import { managerUrl } from './address-plan.ts'
import { defaultLabClientFile } from './names.ts'
import { managersOf, type LabState } from './state.ts'
import { labNamespaces } from './switch.ts'
import { joinManagers } from './several-managers.ts'
import { createWorld, removeWorld, type Progress, type WorldOptions } from './world.ts'

export interface UpOptions extends WorldOptions {
  readonly hasVms: boolean
  /** Import the small guest's kernel and initrd; default: when there are VMs. */
  readonly hasGuest?: boolean
  /** Every host has a fence device, so that a lost one is switched off and its VMs are started elsewhere. Default false. */
  readonly hasFence?: boolean
}

export interface UpResult {
  /** False when the lab ran already and nothing was changed. */
  readonly isNew: boolean
  readonly client: Client
  readonly file: ClientFile
  /** Opens the web page signed in, once. */
  readonly link: string
}

/** Brings a lab up, or goes on where an earlier one ended. On a lab that is up it changes nothing. */
export async function bringUp(lab: Lab, options: UpOptions, say: Progress): Promise<UpResult> {
  const before = await lab.state()
  if (before?.phase === 'up') {
    if (await isStanding(lab)) return await findRunning(lab)
    say('the machine was restarted since: the lab is put up again, with its disks and its inventory as they were')
  }
  await installPackages(lab.ports, say, (options.managers ?? 1) > 1 ? 'lab-managers' : 'lab')
  // The guest may take a while the first time: it is made while the hosts come up.
  const guest = (options.hasGuest ?? options.hasVms) ? smallGuest(lab.ports, say) : undefined
  guest?.catch(() => undefined)
  const state = await createWorld(lab, options, say)
  const first = await startManager(lab, state, say)
  const file = { ...first, ...urlsOf(state) }
  await writeClientFile(lab, file)
  const client = await connect(lab, file)
  await joinManagers(lab, state, first, say)
  await joinHosts(lab, state, client, file, say)
  await createResources(lab, state, client, say)
  if (options.hasFence === true) await setFences(lab, state, client, say)
  if (guest !== undefined) await importGuest(lab, state, client, await guest, say)
  if (guest !== undefined && options.hasVms) await createVms(lab, state, client, await guest, say)
  await lab.save({ ...((await lab.state()) ?? state), phase: 'up' })
  return { isNew: true, client, file, link: await signInLink(client, file) }
}

/** After a restart of the machine the files of a lab are there, and nothing else of it. */
async function isStanding(lab: Lab): Promise<boolean> {
  return (await labNamespaces(lab.ports, lab.name)).length > 0
}

const answerMs = 15_000

/** The manager of a lab that is up. Throws what to do where there is none. */
export async function connectRunning(lab: Lab): Promise<{ client: Client; file: ClientFile }> {
  const state = await lab.existing()
  const { phase } = state
  if (phase !== 'up' || !(await isStanding(lab))) {
    throw new HoldfastError('wrong-state', `the lab "${lab.name}" is not up`, {
      mend: `Run \`holdfast lab up${lab.isDefault ? '' : ` --name ${lab.name}`}\`, which goes on where it ended.`,
    })
  }
  await lab.withOutside()
  const powers = await Promise.all(managersOf(state).map(async (node) => (await lab.power(node, 'status')).power))
  if (!powers.includes('on')) {
    throw new HoldfastError('wrong-state', `the lab "${lab.name}" runs, but its manager is ${powers[0] ?? 'off'}`, {
      mend: 'Run `holdfast lab heal`, which ends every fault.',
    })
  }
  const file = await readClientFile(lab)
  return { client: await connect(lab, file, answerMs), file }
}

function urlsOf(state: LabState): { urls?: string[] } {
  const managers = managersOf(state)
  return managers.length === 1 ? {} : { urls: managers.map((node) => managerUrl(state.plan, node)) }
}

async function findRunning(lab: Lab): Promise<UpResult> {
  const { client, file } = await connectRunning(lab)
  return { isNew: false, client, file, link: await signInLink(client, file) }
}

/** A VM that runs, and another host for it: what people may try next. Undefined where there is none. */
export async function moveToTry(
  lab: Lab,
  client: Client,
): Promise<{ vm: string; from: string; to: string } | undefined> {
  const [{ items: vms }, { hosts }] = await Promise.all([client.call('listVms'), lab.existing()])
  const vm = vms.find(({ state }) => state === 'running')
  const to = hosts.find((host) => host !== vm?.host)
  return vm?.host == null || to === undefined ? undefined : { vm: vm.name, from: vm.host, to }
}

/** Takes a lab down, whole. Answers what could not be removed: nothing, if all is well. */
export async function takeDown(lab: Lab): Promise<string[]> {
  if (lab.isDefault) await lab.ports.files.remove(defaultLabClientFile)
  return await removeWorld(lab)
}

export async function readClientFile(lab: Lab): Promise<ClientFile> {
  return JSON.parse(await lab.ports.files.readText(`${lab.folder}/client.json`)) as ClientFile
}

/** For the CLI: the default lab's is where it looks by itself. */
async function writeClientFile(lab: Lab, file: ClientFile): Promise<void> {
  const text = `${JSON.stringify(file, null, 2)}\n`
  await lab.ports.files.replace(`${lab.folder}/client.json`, text, { mode: 0o600 })
  await lab.ports.files.replace(`${lab.folder}/ca.pem`, file.ca)
  if (!lab.isDefault) return
  await lab.ports.files.makeDirectory(defaultLabClientFile.replace(/\/[^/]*$/, ''))
  await lab.ports.files.replace(defaultLabClientFile, text, { mode: 0o600 })
}

async function signInLink(client: Client, file: ClientFile): Promise<string> {
  const { code } = await client.call('createSignInCode', { body: {} })
  return `${file.url}/#code=${code}`
}
