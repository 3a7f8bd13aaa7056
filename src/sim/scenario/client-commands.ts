/** What people ask of the manager in a scenario. A refusal is a line of the log: `refused WORD`, where WORD is the first of the sentence. */
import { HoldfastError } from '../../base/errors.ts'
import type { CallOf } from '../../contracts/routes.ts'
import { restartPriorities, type RestartPriority } from '../../contracts/restart-words.ts'
import type { Manager } from '../../manager/app/manager.ts'
import type { Task } from '../../contracts/inventory.ts'
import { call } from '../cluster/simulated-cluster.ts'
import { spanMs } from './format.ts'
import type { Form } from './forms.ts'
import type { Stage } from './stage.ts'

type Ask = (stage: Stage, args: readonly string[]) => Promise<unknown>
export type ClientForm = Form<Ask>

/** A task is begun; or it is not, and the log says so. */
async function begin(stage: Stage, what: string, work: (manager: Manager) => Promise<Task>): Promise<void> {
  await asked(stage, what, async (manager) => {
    const task = await work(manager)
    stage.client.tasks.set(task.id, what)
    return task
  })
}

async function asked(stage: Stage, what: string, work: (manager: Manager) => Promise<unknown>): Promise<void> {
  try {
    await stage.world.ask(work)
  } catch (thrown) {
    const isKnown = thrown instanceof HoldfastError && thrown.code !== 'internal'
    const why = thrown instanceof Error ? thrown.message : String(thrown)
    stage.log.add(['refused', ...what.split(' ')], why)
    if (!isKnown) stage.world.truth.violated(`${what} broke: ${why}`)
  }
}

const migrate =
  (more: Partial<CallOf<'migrateVm'>['body']> = {}): Ask =>
  (stage, [vm = '', to = '']) => {
    const disks = (stage.topology.vms[vm]?.datastore ?? 'shared') === 'shared'
    const datastore = disks || to === '' ? {} : { datastore: to.replace('node', 'local') }
    const body = { ...(to === '' ? {} : { host: to }), ...datastore, ...more }
    return begin(stage, `migrate ${vm}`, (manager) =>
      manager.api.migrateVm({ params: { vm: stage.id(vm) }, body }, call),
    )
  }

const powerForms: readonly ClientForm[] = [
  { form: 'start VM', act: (stage, [vm = '']) => start(stage, vm, {}) },
  { form: 'start VM on HOST', act: (stage, [vm = '', host = '']) => start(stage, vm, { host }) },
  {
    form: 'stop VM',
    act: (stage, [vm = '']) =>
      begin(stage, `stop ${vm}`, (manager) => manager.api.stopVm({ params: { vm: stage.id(vm) }, body: {} }, call)),
  },
  {
    form: 'shut down VM within SPAN',
    act: (stage, [vm = '', span = '']) => {
      const body = { timeoutSeconds: spanMs(span) / 1000 }
      return begin(stage, `shutdown ${vm}`, (manager) =>
        manager.api.shutdownVm({ params: { vm: stage.id(vm) }, body }, call),
      )
    },
  },
  { form: 'migrate VM', act: migrate() },
  { form: 'migrate VM to HOST', act: migrate() },
  { form: 'force VM to HOST', act: migrate({ force: true }) },
  {
    form: 'cancel migration of VM',
    act: async (stage, [vm = '']) => {
      const { items } = await stage.world.store.list('task')
      const open = items.filter(({ value }) => value.target?.id === stage.id(vm) && value.ended === null)
      for (const { value } of open)
        await asked(stage, `cancel ${vm}`, (manager) =>
          manager.api.cancelTask({ params: { task: value.id }, body: {} }, call),
        )
    },
  },
]

function start(stage: Stage, vm: string, body: { host?: string }): Promise<void> {
  return begin(stage, `start ${vm}`, (manager) => manager.api.startVm({ params: { vm: stage.id(vm) }, body }, call))
}

const inventoryForms: readonly ClientForm[] = [
  {
    form: 'create NEW',
    act: (stage, [name = '']) => {
      const disks = [{ sizeBytes: 1024 * 1024, datastore: 'shared' }]
      const body = { name, memoryMiB: 64, video: 'none' as const, nics: [], disks, start: true }
      return begin(stage, `create ${name}`, async (manager) => {
        const task = await manager.api.createVm({ params: {}, body }, call)
        stage.remember(name, task.target?.id ?? '')
        return task
      })
    },
  },
  {
    form: 'delete VM',
    act: (stage, [vm = '']) => {
      stage.client.names.delete(stage.id(vm))
      return begin(stage, `delete ${vm}`, (manager) => manager.api.deleteVm({ params: { vm: stage.id(vm) } }, call))
    },
  },
  {
    form: `set priority of VM to (${restartPriorities.join('|')})`,
    act: (stage, [vm = '', priority = '']) => change(stage, vm, { restartPriority: priority as RestartPriority }),
  },
  {
    form: 'set isolation of VM to (stop|leave-running)',
    act: (stage, [vm = '', how = '']) => change(stage, vm, { isolation: how as 'stop' | 'leave-running' }),
  },
  {
    form: 'set restart of VM to (on-failure|never)',
    act: (stage, [vm = '', how = '']) => change(stage, vm, { restart: how as 'on-failure' | 'never' }),
  },
  {
    form: 'remove rule RULE',
    act: (stage, [rule = '']) =>
      asked(stage, `remove ${rule}`, async (manager) =>
        manager.api.removeRule({ params: { rule: await ruleId(stage, rule) } }, call),
      ),
  },
]

async function ruleId({ world }: Stage, name: string): Promise<string> {
  return (await world.store.list('rule')).items.find(({ value }) => value.name === name)?.value.id ?? name
}

function change(stage: Stage, vm: string, policies: CallOf<'changeVm'>['body']['policies']): Promise<void> {
  const body = { ...(policies === undefined ? {} : { policies }) }
  return asked(stage, `change ${vm}`, (manager) => manager.api.changeVm({ params: { vm: stage.id(vm) }, body }, call))
}

const hostForms: readonly ClientForm[] = [
  {
    form: 'maintenance HOST',
    act: (stage, [host = '']) => maintenance(stage, host, {}),
  },
  { form: 'forced maintenance HOST', act: (stage, [host = '']) => maintenance(stage, host, { force: true }) },
  {
    form: 'leave maintenance HOST',
    act: (stage, [host = '']) =>
      asked(stage, `leave ${host}`, (manager) =>
        manager.api.leaveMaintenance({ params: { host: stage.host(host).id } }, call),
      ),
  },
  {
    // Said again until the manager takes it, for a minute at most: a host counts as connected for a while.
    form: 'confirm off HOST',
    act: (stage, [host = '']) => {
      const until = stage.world.clock.elapsedMs + 60_000
      const { id } = stage.host(host)
      return stage.client.confirmOff(id, () => stage.world.clock.elapsedMs < until)
    },
  },
  {
    form: 'confirm off HOST once',
    act: (stage, [host = '']) => {
      const body = { iAmSure: true as const }
      return asked(stage, `confirm ${host}`, (manager) =>
        manager.api.confirmHostOff({ params: { host: stage.host(host).id }, body }, call),
      )
    },
  },
  { form: 'switch off HOST', act: (stage, [host = '']) => switchOff(stage, host, false) },
  { form: 'force off HOST', act: (stage, [host = '']) => switchOff(stage, host, true) },
  {
    form: 'automatic fencing (on|off)',
    act: (stage, [how = '']) => {
      const body = { automatic: how === 'on' }
      return asked(stage, `fencing ${how}`, (manager) => manager.api.changeFencing({ params: {}, body }, call))
    },
  },
  {
    form: 'remove host HOST',
    act: (stage, [host = '']) =>
      asked(stage, `remove ${host}`, (manager) =>
        manager.api.removeHost({ params: { host: stage.host(host).id } }, call),
      ),
  },
]

function maintenance(stage: Stage, host: string, body: { force?: boolean }): Promise<void> {
  return begin(stage, `maintenance ${host}`, (manager) =>
    manager.api.enterMaintenance({ params: { host: stage.host(host).id }, body }, call),
  )
}

function switchOff(stage: Stage, host: string, force: boolean): Promise<void> {
  const body = force ? { force } : {}
  return begin(stage, `force ${host}`, (manager) =>
    manager.api.fenceHost({ params: { host: stage.host(host).id }, body }, call),
  )
}

export const clientForms: readonly ClientForm[] = [...powerForms, ...inventoryForms, ...hostForms]
