/**
 * A manager that is one of several. It listens and looks who leads; when it gets the lead it opens the manager itself. It leads
 * once: when the lead is lost the process must end at once (`lost`), and is started anew as a standby.
 */
import { describeError, HoldfastError, toHoldfastError } from '../../base/errors.ts'
import { managerTlsName } from '../../manager/app/manager.ts'
import type { EtcdInventory } from '../../manager/app/etcd-inventory.ts'
import { keepLead, waitForLead } from '../../manager/app/leadership.ts'
import type { LivingManager } from '../../manager/app/managers.ts'
import type { HandOver } from '../../manager/app/manager-joins.ts'
import { keepCertificate, RunningManager, type RunningOptions } from '../running-manager.ts'
import { FrontDoor } from './front-door.ts'

export interface ClusteredOptions extends Omit<RunningOptions, 'store' | 'door' | 'cluster'> {
  readonly self: () => Omit<LivingManager, 'seen'>
  readonly openInventory: () => Promise<EtcdInventory>
  /** UUID of the cluster that the inventory must be of. */
  readonly cluster: string | undefined
  readonly handOver: HandOver
  readonly seen: { readonly read: () => Promise<number>; readonly write: (revision: number) => Promise<void> }
  /** Which managers there are was told. */
  readonly onManagers: (urls: readonly string[]) => Promise<void>
}

const [openAgainMs, tellEveryMs] = [1000, 2000]

export class ClusteredManager implements AsyncDisposable {
  readonly port: number
  /** Resolves, with why, when this process must end at once; rejects where it cannot be a manager at all. */
  readonly lost: Promise<string>
  readonly #options: ClusteredOptions
  readonly #door: FrontDoor
  readonly #closing = new AbortController()
  readonly #lost: PromiseWithResolvers<string>
  readonly #resources = new AsyncDisposableStack()
  #running: Promise<void> = Promise.resolve()
  #leading: RunningManager | undefined

  private constructor(options: ClusteredOptions, door: FrontDoor) {
    this.#options = options
    this.#door = door
    this.port = door.port
    this.#lost = Promise.withResolvers<string>()
    this.lost = this.#lost.promise
    this.lost.catch(() => undefined)
  }

  static async open(options: ClusteredOptions): Promise<ClusteredManager> {
    const { authority, clock, serverFolder, addresses, listen } = options
    const names = { commonName: managerTlsName, subjects: [managerTlsName, ...addresses] }
    const pair = await authority.serverPair(serverFolder, names)
    const trouble: { now: string | undefined } = { now: undefined }
    const door = await FrontDoor.open({ clock, ca: authority.ca, pair, listen, trouble: () => trouble.now })
    const manager = new ClusteredManager(options, door)
    void keepCertificate(options, names, manager.#closing.signal, (renewed) => door.renew(renewed))
    manager.#running = manager.#run(trouble).catch((thrown: unknown) => manager.#lost.reject(toHoldfastError(thrown)))
    return manager
  }

  /** The manager itself, while it leads. */
  get leading(): RunningManager | undefined {
    return this.#leading
  }

  async #run(trouble: { now: string | undefined }): Promise<void> {
    const { clock, logger } = this.#options
    const { signal } = this.#closing
    const inventory = await this.#openInventory(trouble)
    if (inventory === undefined) return
    this.#resources.use(inventory)
    const telling = this.#tell(inventory)
    this.#resources.defer(() => telling)
    const ports = { lead: inventory.lead, clock, logger }
    const follow = (leader: Parameters<FrontDoor['follow']>[0]): void => {
      logger.info({ leader: leader?.name ?? 'nobody', url: leader?.urls[0] }, 'who leads')
      this.#door.follow(leader)
    }
    if (!(await waitForLead(ports, follow, signal))) return
    await this.#lead(inventory)
  }

  async #lead(inventory: EtcdInventory): Promise<void> {
    const { clock, logger, handOver, self } = this.#options
    const { lead, known } = inventory
    const given = new AbortController()
    inventory.fence(() => this.#lost.resolve('another manager leads: a change was refused for that'))
    void keepLead({ lead, clock, logger }, given.signal).then((why) => {
      if (!given.signal.aborted) this.#lost.resolve(why)
    })
    // Given back last of all, when nothing more can be written.
    this.#resources.defer(async () => {
      given.abort()
      await lead.release()
    })
    const { taken } = lead
    if (taken === undefined) throw new HoldfastError('internal', 'the lead was not taken')
    const { since, term } = taken
    logger.info({ term }, 'this manager leads')
    const holdsLead = (): boolean => lead.holds()
    this.#leading = this.#resources.use(
      await RunningManager.open({
        ...{
          ...this.#options,
          store: inventory.store,
          door: this.#door,
          isClustered: true,
          holdsLead,
          handOver,
          urls: self().urls,
        },
        cluster: {
          living: () => known.list(),
          members: () => inventory.members(),
          leader: () => ({ manager: self().manager, since }),
          forget: (manager) => known.forget(manager),
        },
      }),
    )
  }

  /** Tries until etcd answers; meanwhile callers are told what is wrong. */
  async #openInventory(trouble: { now: string | undefined }): Promise<EtcdInventory | undefined> {
    const { clock, logger, openInventory } = this.#options
    const { signal } = this.#closing
    while (!signal.aborted) {
      try {
        await using opened = new AsyncDisposableStack()
        const inventory = opened.use(await openInventory())
        await this.#mustBeOurs(inventory)
        opened.move()
        trouble.now = undefined
        return inventory
      } catch (thrown) {
        const error = toHoldfastError(thrown)
        if (!error.isUnknown) throw error
        trouble.now = describeError(error)
        logger.warn({ err: trouble.now }, 'the inventory cannot be opened; it is tried again')
        await clock.sleep(openAgainMs, signal).catch(() => undefined)
      }
    }
    return undefined
  }

  /** An etcd of another cluster, or one whose data is older than what this manager has seen, is not to be led. */
  async #mustBeOurs(inventory: EtcdInventory): Promise<void> {
    const { cluster, seen } = this.#options
    await inventory.mustBe(cluster)
    const [now, before] = [await inventory.store.revision(), await seen.read()]
    if (now >= before) return
    throw new HoldfastError('store-error', `the inventory in etcd is at ${now}, and was at ${before} before`, {
      mend: 'Was etcd restored from an old snapshot? Restore the inventory itself: holdfast manager restore, see docs/managers.md.',
    })
  }

  /** Says that this manager lives, and keeps who else does, and how far the inventory is. */
  async #tell({ known, store }: EtcdInventory): Promise<void> {
    const { clock, logger, self, seen, onManagers } = this.#options
    const { signal } = this.#closing
    let written = await seen.read()
    while (!signal.aborted) {
      try {
        await known.tell(self())
        const others = (await known.list()).filter(({ manager }) => manager !== self().manager)
        await onManagers([...self().urls, ...others.flatMap(({ urls }) => urls)])
        const revision = await store.revision()
        if (revision > written) await seen.write(revision)
        written = Math.max(written, revision)
      } catch (thrown) {
        const error = toHoldfastError(thrown)
        logger.warn({ err: describeError(error) }, 'this manager could not say that it lives')
        if (error.code === 'store-error') this.#lost.reject(error)
      }
      await clock.sleep(tellEveryMs, signal).catch(() => undefined)
    }
  }

  /** Ends in order, and gives the lead back, so that another has it at once. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort()
    await this.#running
    await this.#resources.disposeAsync()
    await this.#door[Symbol.asyncDispose]()
  }
}
