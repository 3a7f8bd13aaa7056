/**
 * What an agent must not forget about a VM: DATA/vms/vm-42/state.json, replaced whole and durably. The rule is one: what
 * permits an act is written before the act.
 */
import { join } from 'node:path'
import Value from 'typebox/value'
import { HoldfastError } from '../../base/errors.ts'
import { fileErrorCode, type Files } from '../../base/files.ts'
import type { VmId } from '../../base/ids.ts'
import {
  MigrateOutcome,
  PrepareIncomingRequest,
  PrepareIncomingResponse,
  VmDeployment,
} from '../../contracts/agent-api.ts'
import { DatastoreIdSchema, VmIdSchema } from '../../contracts/ids.ts'
import { TransitionRequest } from '../../contracts/manager-api.ts'
import { ProtectionConfig, protectionSides, SecondEndpoint } from '../../contracts/protection.ts'
import { agentEvents, stopCauses } from '../../contracts/run-record.ts'
import { Nullable, OneOf, Open, Type, type Static } from '../../contracts/schema.ts'

/**
 * What this host's QEMU of the VM is for.
 *
 *   none ──start──▶ starting ──record moved──▶ running ──migrate-out──▶ outgoing ──stream complete──▶ sent
 *    ▲                                          ▲  ▲ ╰─────not sent───────╯                            │
 *    ├── quit ◀── release ──────────────────────┼──┴──resume (target discarded, record moved)──────────┤
 *    ├── discarded ◀── incoming ──guest runs────┤                                                      ╰▶ none
 *    ╰── given up ◀── second ──its pump has it run─╯
 */
export const vmRoles = ['none', 'starting', 'running', 'incoming', 'outgoing', 'sent', 'second'] as const
export type VmRole = (typeof vmRoles)[number]

/** As `MemoryPhase` has them: alone or lost is the primary; running or dropped, the second. */
export const protectionOutcomes = ['alone', 'lost', 'running', 'dropped'] as const
export type ProtectionOutcome = (typeof protectionOutcomes)[number]

const Generation = Type.Integer({ minimum: 0 })

/** A transition that is asked of the manager until it answers. The attempt's name makes asking again harmless. */
export const PendingTransition = Open({
  event: OneOf(agentEvents),
  generation: Generation,
  cause: Nullable(OneOf(stopCauses)),
  /** With `new-arbiter`. */
  decides: TransitionRequest.properties.decides,
  attempt: Type.String(),
})
export type PendingTransition = Static<typeof PendingTransition>

/**
 * This host's part in a pair that holds the VM in step. Written before a pump is started, and kept until the run record
 * says what the pair came to.
 */
export const HeldProtection = Open({
  side: OneOf(protectionSides),
  /** The number with which the pair began; that of a new arbiter is the pump's own. */
  n: Type.Integer({ minimum: 1 }),
  config: ProtectionConfig,
  /** Of the second, once it listens: the same preparation again is answered with it. */
  endpoint: Nullable(SecondEndpoint),
  /** What the pump's final memory says; null until there is one. Durable before anything follows from it. */
  outcome: Nullable(OneOf(protectionOutcomes)),
})
export type HeldProtection = Static<typeof HeldProtection>

export const VmState = Open({
  v: Type.Literal(1),
  vm: VmIdSchema,
  deployment: Nullable(VmDeployment),
  /** Life of the store and generation of the newest run record seen. */
  incarnation: Type.Integer({ minimum: 0 }),
  generation: Generation,
  role: OneOf(vmRoles),
  /** Of the move that made, or makes, this role; null outside of one. */
  moveGeneration: Nullable(Generation),
  /** The newest move to here of which nothing ran and nothing ever will. */
  discarded: Nullable(Generation),
  /** The newest move to here whose QEMU ended while nobody looked: it may have run. */
  vanished: Nullable(Generation),
  /** The record's generation that the last stop ended; the same stop again is answered as the first time. */
  lastStop: Nullable(Generation),
  pending: Nullable(PendingTransition),
  incoming: Nullable(Open({ request: PrepareIncomingRequest, response: Nullable(PrepareIncomingResponse) })),
  /** How the migration of `moveGeneration` away from here ended. */
  outcome: Nullable(MigrateOutcome),
  /** A disk that is being moved on this host: where to. Until it is settled QEMU alone knows which file counts. */
  movingDisk: Type.Optional(Nullable(Open({ key: Type.Integer(), datastore: DatastoreIdSchema, path: Type.String() }))),
  protection: Type.Optional(Nullable(HeldProtection)),
  /** The newest number that this host has lost or given up: nothing of it, or of one below, runs here again. */
  givenUp: Type.Optional(Type.Integer({ minimum: 0 })),
  /** Number of the newest task that has signalled it. */
  lastSignal: Type.Optional(Type.Integer({ minimum: 0 })),
  /** What the guest's boot is called, and whether an agent in it has answered since; null while a reset is on its way. */
  boot: Type.Optional(Nullable(Open({ pid: Type.Integer(), name: Type.String(), isHeard: Type.Boolean() }))),
  pausedByUser: Type.Boolean(),
  outOfSpace: Type.Boolean(),
  problem: Nullable(Type.String()),
  startedAt: Nullable(Type.String()),
})
export type VmState = Static<typeof VmState>

export function newVmState(vm: VmId): VmState {
  return {
    v: 1,
    vm,
    deployment: null,
    incarnation: 0,
    generation: 0,
    role: 'none',
    moveGeneration: null,
    discarded: null,
    vanished: null,
    lastStop: null,
    pending: null,
    incoming: null,
    outcome: null,
    pausedByUser: false,
    outOfSpace: false,
    problem: null,
    startedAt: null,
  }
}

/** The states of all VMs, below one folder. */
export class VmStates {
  readonly #files: Files
  readonly #directory: string

  constructor(files: Files, dataDirectory: string) {
    this.#files = files
    this.#directory = join(dataDirectory, 'vms')
  }

  /** VMs that have a state. */
  async list(): Promise<VmId[]> {
    await this.#files.makeDirectory(this.#directory, { mode: 0o700 })
    return (await this.#files.list(this.#directory)).filter((name): name is VmId => /^vm-[1-9][0-9]*$/.test(name))
  }

  /** Throws `internal` when the file is not what this agent wrote: nothing may be decided from half of it. */
  async read(vm: VmId): Promise<VmState | undefined> {
    let text: string
    try {
      text = await this.#files.readText(this.#path(vm))
    } catch (thrown) {
      if (fileErrorCode(thrown) === 'ENOENT') return undefined
      throw thrown
    }
    const state: unknown = JSON.parse(text)
    if (Value.Check(VmState, state)) return state
    throw new HoldfastError('internal', `the state of ${vm} in ${this.#path(vm)} is not readable`, {
      mend: 'Restore the file from a backup, or move it away once no QEMU of this VM runs on this host.',
    })
  }

  async write(state: VmState): Promise<void> {
    await this.#files.makeDirectory(join(this.#directory, state.vm), { mode: 0o700 })
    await this.#files.replace(this.#path(state.vm), JSON.stringify(state), { mode: 0o600 })
  }

  async remove(vm: VmId): Promise<void> {
    await this.#files.remove(join(this.#directory, vm))
  }

  #path(vm: VmId): string {
    return join(this.#directory, vm, 'state.json')
  }
}
