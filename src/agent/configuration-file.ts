/** The host configuration in force, durable: a host that boots while no manager answers has its networks all the same. */
import { join } from 'node:path'
import { fileErrorCode, type Files } from '../base/files.ts'
import type { HostConfiguration } from '../contracts/agent-api.ts'
import { SerialQueue } from '../base/serial-queue.ts'

export class ConfigurationFile {
  readonly #files: Files
  readonly #path: string
  readonly #queue = new SerialQueue()
  #digest = ''
  #isInMaintenance = false

  constructor(files: Files, dataDirectory: string) {
    this.#files = files
    this.#path = join(dataDirectory, 'configuration.json')
  }

  /** Of what is in force; empty before the first. */
  get digest(): string {
    return this.#digest
  }

  /** By what is in force, this host is to be kept empty. */
  get isInMaintenance(): boolean {
    return this.#isInMaintenance
  }

  async read(): Promise<HostConfiguration | undefined> {
    try {
      const configuration = JSON.parse(await this.#files.readText(this.#path)) as HostConfiguration
      this.#inForce(configuration)
      return configuration
    } catch (thrown) {
      if (fileErrorCode(thrown) === 'ENOENT') return undefined
      throw thrown
    }
  }

  /** Applies a configuration and keeps it. One at a time; it is in force only when applied. */
  change(configuration: HostConfiguration, apply: () => Promise<void>): Promise<void> {
    return this.#queue.run(async () => {
      await this.#files.replace(this.#path, JSON.stringify(configuration), { mode: 0o600 })
      await apply()
      this.#inForce(configuration)
    })
  }

  #inForce({ digest, isInMaintenance }: HostConfiguration): void {
    this.#digest = digest
    this.#isInMaintenance = isInMaintenance === true
  }
}
