/** What a host must not forget of its lease: DATA/lease.json, replaced whole and durably. */
import { join } from 'node:path'
import { fileErrorCode, type Files } from '../../base/files.ts'
import type { VmId } from '../../base/ids.ts'
import type { LeaseTerms, LeftBy, Witness } from '../../contracts/host-lease.ts'

export interface LeaseMemory {
  readonly v: 1
  /** Of the newest promise; 0: none was ever made. */
  readonly round: number
  /** All that the managers may believe to be armed in this round. */
  readonly armed: readonly VmId[]
  /** All that the managers may believe to be asked in this round. */
  readonly witnesses: readonly Witness[]
  /** In force: no longer than what the managers count with. Absent: the usual ones. */
  readonly terms?: LeaseTerms
  /** Of the hardware behind the watchdog, as it was promised. */
  readonly watchdogMs?: number | null
  /** Of the newest promise. */
  readonly number?: number
  /** What is armed may run since this round; nothing of an earlier one is left. */
  readonly since?: number
  /** Others were asked in this round, and may have vouched. */
  readonly wasAsked?: boolean
  /** Every witness of this round has vouched. */
  readonly isReleased: boolean
  /** For whom this host has vouched; the newest round of each. */
  readonly vouchedFor: readonly LeftBy[]
  /** Whose VMs this host has taken; the newest round of each. */
  readonly tookFrom: readonly LeftBy[]
}

const empty: LeaseMemory = {
  ...{ v: 1, round: 0, armed: [], witnesses: [], isReleased: false, vouchedFor: [], tookFrom: [] },
}

export class LeaseFile {
  readonly #files: Files
  readonly #path: string

  constructor(files: Files, dataDirectory: string) {
    this.#files = files
    this.#path = join(dataDirectory, 'lease.json')
  }

  async read(): Promise<LeaseMemory> {
    try {
      return { ...empty, ...(JSON.parse(await this.#files.readText(this.#path)) as LeaseMemory) }
    } catch (thrown) {
      if (fileErrorCode(thrown) === 'ENOENT') return empty
      throw thrown
    }
  }

  async write(memory: LeaseMemory): Promise<void> {
    await this.#files.replace(this.#path, JSON.stringify(memory), { mode: 0o600 })
  }
}
