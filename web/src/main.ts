/** The page: signs in, then shows hosts, VMs and tasks as they change. */
import { AlarmList } from './alarm-list.ts'
import { api, ApiError } from './api.ts'
import { byId, h } from './dom.ts'
import { HostList } from './host-list.ts'
import { InventoryFeed, type Inventory } from './inventory.ts'
import { signInPanel, takeCode } from './sign-in.ts'
import { TaskList } from './task-list.ts'
import { VmList } from './vm-list.ts'

const retryMs = 2000
const main = byId('main')
const live = byId('live')
const signOut = byId('sign-out')

async function begin(): Promise<void> {
  const code = takeCode()
  let reason: string | null = null
  if (code !== null) {
    await api.signIn(code).catch((thrown: unknown) => {
      reason = thrown instanceof Error ? thrown.message : String(thrown)
    })
  }
  try {
    await showInventory()
  } catch (thrown) {
    if (thrown instanceof ApiError && thrown.status === 401) return askForCode(reason)
    const why = thrown instanceof Error ? thrown.message : String(thrown)
    main.replaceChildren(h('p', { class: 'problem' }, `The manager does not answer (${why}); trying again …`))
    setTimeout(() => void begin(), retryMs)
  }
}

function askForCode(reason: string | null): void {
  signOut.hidden = true
  live.textContent = ''
  byId('cluster').textContent = ''
  main.replaceChildren(signInPanel(() => void begin(), reason))
}

async function showInventory(): Promise<void> {
  const alarms = new AlarmList(() => feed.refresh())
  const hosts = new HostList()
  const tasks = new TaskList(() => feed.refresh())
  const vms = new VmList(() => feed.refresh())
  const feed = new InventoryFeed({
    change: (inventory) => {
      showCluster(inventory)
      alarms.show(inventory.alarms)
      hosts.show(inventory.hosts.toSorted(byName))
      vms.show(inventory.vms.toSorted(byName), inventory)
      tasks.show(inventory.tasks)
    },
    live: (isLive) => {
      live.textContent = isLive ? 'live' : 'connecting …'
      live.dataset['state'] = isLive ? 'live' : 'away'
    },
    signedOut: () => {
      feed.stop()
      askForCode('Your session is over.')
    },
  })
  await feed.start()
  main.replaceChildren(alarms.element, hosts.element, vms.element, tasks.element)
  signOut.hidden = false
  signOut.onclick = () => {
    feed.stop()
    void api.signOut().finally(() => askForCode(null))
  }
}

/** As people count: host2 before host10. */
function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name.localeCompare(b.name, undefined, { numeric: true })
}

function showCluster({ cluster }: Inventory): void {
  const { hosts, vms, running } = cluster.counts
  byId('cluster').textContent = `${cluster.name} · ${hosts} hosts · ${running} of ${vms} VMs run`
  document.title = `${cluster.name} – Holdfast`
}

await begin()
