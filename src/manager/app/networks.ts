/** Networks (port groups): L2 segments that every host carries. */
import { isoTime } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { NetworkId } from '../../base/ids.ts'
import type { CreateNetwork, NetworkObject } from '../../contracts/inventory.ts'
import type { CallOf } from '../../contracts/routes.ts'
import { planAddresses } from '../domain/ipv4.ts'
import { nameClaim, nameProblem } from '../domain/names.ts'
import type { NetworkRecord } from '../store/records.ts'
import type { AppContext, Caller } from './context.ts'
import { namedPageOf, type PageOf } from './pages.ts'
import { networkView } from './views/network-view.ts'
import { claim, need, newEvent, notFound, pledged, subjectOf, unclaim, write } from './write.ts'

/** VXLAN over a plain Ethernet leaves this much. */
const vxlanMtu = 1450
const plainMtu = 1500
/** VXLAN numbers below are left to people who choose their own. */
const firstFreeTag = 10_000

export class Networks {
  readonly #context: AppContext

  constructor(context: AppContext) {
    this.#context = context
  }

  async list(query: CallOf<'listNetworks'>['query'] = {}): Promise<PageOf<NetworkObject>> {
    const mirror = await this.#context.mirror.fresh()
    const page = namedPageOf(mirror.list('network'), query)
    const vms = mirror.list('vm')
    const items = page.items.map((record) => networkView(record, mirror.revisionOf('network', record.id), vms))
    return { items, next: page.next, revision: mirror.revision }
  }

  /** Throws `invalid-request` (what does not fit together), `name-taken` (the name, or the tag). */
  async create(body: CreateNetwork, caller: Caller): Promise<NetworkObject> {
    const problem = nameProblem(body.name) ?? kindProblem(body)
    if (problem !== undefined) throw new HoldfastError('invalid-request', problem)
    const { store, clock, random, mirror } = this.#context
    const datacenter = mirror.list('datacenter')[0]
    if (datacenter === undefined) throw new HoldfastError('internal', 'the inventory has no datacenter')
    const id = (await store.nextId('network')) as NetworkId
    const key = nameClaim('network', datacenter.id, body.name)
    await write(store, async () => {
      const existing = (await store.list('network')).items.map(({ value }) => value)
      const made: NetworkRecord = {
        ...{ id, uuid: random.uuid(), name: body.name, v: 1, created: isoTime(clock.now()), datacenter: datacenter.id },
        ...settingsOf(body, tagFor(body, existing)),
      }
      const tagKey = made.tag === null ? undefined : `tag/${made.kind}/${made.uplink ?? ''}/${made.tag}`
      return {
        changes: [
          await claim(store, key, id, () => taken(`there is a network ${body.name} already`)),
          ...(tagKey === undefined
            ? []
            : [await claim(store, tagKey, id, () => taken(`the tag ${made.tag ?? ''} is used by another network`))]),
          { do: 'create', kind: 'network', value: made },
          ...pledged(caller, { kind: 'network', id }),
        ],
        events: [
          newEvent('network.created', subjectOf('network', made), `The network ${body.name} was added`, {
            by: caller.name,
          }),
        ],
        value: undefined,
      }
    })
    return this.get(id)
  }

  async get(id: string): Promise<NetworkObject> {
    const mirror = await this.#context.mirror.fresh()
    const stored = mirror.stored('network', id)
    if (stored === undefined) throw notFound('network', id)
    return networkView(stored.value, stored.revision, mirror.list('vm'))
  }

  /** Removes a network that no VM has a NIC on. */
  async remove(id: string, caller: Caller): Promise<null> {
    const { store } = this.#context
    return write(store, async () => {
      const { value, revision } = await need(store, 'network', id)
      const users = (await store.list('vm')).items.filter(({ value: vm }) =>
        vm.spec.nics.some((nic) => nic.network === value.id),
      )
      if (users.length > 0) {
        const names = users.slice(0, 5).map(({ value: vm }) => vm.name)
        throw new HoldfastError('wrong-state', `VMs have NICs on ${value.name}: ${names.join(', ')}`, {
          mend: 'Delete them first.',
          vms: users.map(({ value: vm }) => vm.id),
        })
      }
      const tagKey = `tag/${value.kind}/${value.uplink ?? ''}/${value.tag ?? ''}`
      return {
        changes: [
          { do: 'remove', kind: 'network', id, expected: revision },
          ...(await unclaim(store, nameClaim('network', value.datacenter, value.name), id)),
          ...(await unclaim(store, tagKey, id)),
        ],
        events: [
          newEvent('network.removed', subjectOf('network', value), `The network ${value.name} was removed`, {
            by: caller.name,
          }),
        ],
        value: null,
      }
    })
  }
}

function settingsOf(
  body: CreateNetwork,
  tag: number | null,
): Omit<NetworkRecord, 'id' | 'uuid' | 'name' | 'v' | 'created' | 'datacenter'> {
  const kind = body.kind ?? 'vxlan'
  return {
    kind,
    tag,
    uplink: kind === 'vlan' ? (body.uplink ?? null) : null,
    mtu: body.mtu ?? (kind === 'vxlan' ? vxlanMtu : plainMtu),
    macSpoofing: body.macSpoofing ?? 'dropped',
    // Where Holdfast assigns no addresses it does not know which are right.
    ipSpoofing: body.ipSpoofing ?? (body.cidr === undefined ? 'allowed' : 'dropped'),
    ipv4: addressesOf(body),
    externalPeers: body.externalPeers ?? [],
  }
}

function addressesOf(body: CreateNetwork): NetworkRecord['ipv4'] {
  if (body.cidr === undefined) return null
  const plan = planAddresses(body.cidr, body.gateway ?? null)
  if (plan === undefined) {
    throw new HoldfastError('invalid-request', `${body.cidr} with this gateway is not a usable IPv4 network`, {
      mend: 'Give the network address and a length between /8 and /29; the gateway lies within, not at its ends.',
      field: 'cidr',
    })
  }
  return { ...plan, dns: body.dns ?? [] }
}

function kindProblem(body: CreateNetwork): string | undefined {
  const kind = body.kind ?? 'vxlan'
  if (kind === 'vlan' && (body.uplink === undefined || body.tag === undefined)) return 'a vlan needs `uplink` and `tag`'
  if (kind === 'vlan' && (body.tag ?? 0) > 4094) return 'the tag of a vlan is at most 4094'
  if (kind !== 'vlan' && body.uplink !== undefined) return '`uplink` is for vlan alone'
  if (kind === 'isolated' && body.tag !== undefined) return 'an isolated network has no tag'
  if (kind !== 'vxlan' && body.externalPeers !== undefined) return '`externalPeers` is for vxlan alone'
  if (body.cidr === undefined && (body.gateway !== undefined || body.dns !== undefined)) {
    return '`gateway` and `dns` need `cidr`'
  }
  const dropsUnknown = body.ipSpoofing === 'dropped' && body.cidr === undefined
  return dropsUnknown ? 'forged addresses can be dropped only where `cidr` lets Holdfast assign them' : undefined
}

function tagFor(body: CreateNetwork, existing: readonly NetworkRecord[]): number | null {
  if (body.kind === 'isolated') return null
  if (body.tag !== undefined) return body.tag
  const used = new Set(existing.map((network) => network.tag))
  let tag = firstFreeTag
  while (used.has(tag)) tag++
  return tag
}

function taken(message: string): HoldfastError {
  return new HoldfastError('name-taken', message, { mend: 'Choose another one.' })
}
