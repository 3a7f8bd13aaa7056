/** The VMs: what they do, where, and what can be asked of them. */
import type { Host, Task, Vm } from '../../src/contracts/inventory.ts'
import { api } from './api.ts'
import { h, KeyedList, notice } from './dom.ts'
import { openMoveDialog } from './move-dialog.ts'
import { openScreen } from './screen.ts'
import { memory } from './words.ts'

interface World {
  readonly hosts: readonly Host[]
  readonly tasks: readonly Task[]
}

export class VmList {
  readonly element = h('section', { attributes: { 'aria-label': 'Virtual machines' } }, h('h2', {}, 'Virtual machines'))
  readonly #list: KeyedList<Vm>
  readonly #empty = h('p', { class: 'hint' }, 'No VM yet: holdfast vm create.')
  readonly #table: HTMLElement
  readonly #onAsked: () => void
  #world: World = { hosts: [], tasks: [] }

  constructor(onAsked: () => void) {
    this.#onAsked = onAsked
    const head = h('tr', {}, ...['Name', 'State', 'Host', 'Addresses', 'Size', ''].map((text) => h('th', {}, text)))
    const body = h('tbody')
    this.#table = h('table', {}, h('thead', {}, head), body)
    this.element.append(this.#empty, h('div', { class: 'scroll' }, this.#table))
    this.#list = new KeyedList(
      body,
      (vm) => vm.id,
      (vm) => this.#row(vm),
    )
  }

  show(vms: readonly Vm[], world: World): void {
    this.#world = world
    this.#empty.hidden = vms.length > 0
    this.#table.hidden = vms.length === 0
    this.#list.show(vms)
  }

  #row(first: Vm): { element: HTMLElement; update: (vm: Vm) => void } {
    let vm = first
    const cells = {
      name: h('strong'),
      state: h('span', { class: 'state' }),
      protection: h('span', { class: 'protection' }),
      host: h('td'),
      addresses: h('td'),
      size: h('td'),
    }
    const problem = h('div', { class: 'problem' })
    const bar = h('progress', { attributes: { max: '1' } })
    const ask = (what: () => Promise<unknown>): void => void this.#ask(what)
    const buttons = {
      start: h('button', { onClick: () => ask(() => api.start(vm.id)) }, 'Start'),
      resume: h('button', { onClick: () => ask(() => api.resume(vm.id)) }, 'Resume'),
      move: h('button', { onClick: () => openMoveDialog(vm, this.#world.hosts, this.#onAsked) }, 'Move …'),
      screen: h('button', { onClick: () => openScreen(vm) }, 'Screen'),
      shutdown: h('button', { onClick: () => ask(() => api.shutdown(vm.id)), title: 'asks the guest' }, 'Shut down'),
      stop: h(
        'button',
        { class: 'danger', onClick: () => ask(() => this.#stop(vm)), title: 'at once, as by its switch' },
        'Power off',
      ),
    }
    const element = h(
      'tr',
      {},
      h('td', {}, cells.name, problem),
      h('td', {}, cells.state, cells.protection, bar),
      cells.host,
      cells.addresses,
      cells.size,
      h('td', { class: 'actions' }, ...Object.values(buttons)),
    )
    const update = (next: Vm): void => {
      vm = next
      cells.name.textContent = vm.name
      cells.name.title = `${vm.id}, ${vm.spec.machineType}, ${vm.spec.firmware}`
      cells.state.textContent = vm.state
      cells.state.dataset['state'] = vm.state
      showProtection(cells.protection, vm)
      cells.host.textContent = vm.host ?? '–'
      cells.addresses.textContent = vm.addresses.join(', ') || '–'
      cells.size.textContent = `${vm.spec.vcpus} vCPU, ${memory(vm.spec.memoryMiB)}`
      problem.textContent = vm.problem ?? ''
      const task = this.#world.tasks.find((each) => each.id === vm.operation && each.ended === null)
      bar.hidden = task === undefined
      bar.value = task?.progress ?? 0
      showButtons(buttons, vm)
    }
    return { element, update }
  }

  async #stop(vm: Vm): Promise<void> {
    if (confirm(`Power ${vm.name} off at once? What the guest has not written is lost.`)) await api.stop(vm.id)
  }

  async #ask(what: () => Promise<unknown>): Promise<void> {
    try {
      await what()
    } catch (thrown) {
      notice(thrown instanceof Error ? thrown.message : String(thrown))
    }
    this.#onAsked()
  }
}

function showProtection(badge: HTMLElement, { protection }: Vm): void {
  badge.hidden = protection.state === 'unprotected'
  badge.dataset['protection'] = protection.state
  badge.textContent = protection.state === 'unprotected-because' ? 'unprotected' : protection.state
  badge.title = protectionTitle(protection)
}

function protectionTitle(protection: Vm['protection']): string {
  switch (protection.state) {
    case 'unprotected':
      return ''
    case 'unprotected-because':
      return protection.reason
    case 'syncing':
      return `on ${protection.second}, ${Math.floor(protection.progress * 100)} %`
    case 'failing-over':
      return `second copy on ${protection.second}, ${protection.arbiter} decides`
    case 'protected':
      return [`second copy on ${protection.second}, ${protection.arbiter} decides`, ...clockWords(protection)].join(
        '\n',
      )
  }
}

function clockWords({ clock, problem }: Extract<Vm['protection'], { state: 'protected' }>): string[] {
  const said = problem === null ? [] : [problem]
  if (clock === null) return said
  const how = clock.isMeasured ? '' : 'about '
  return [`clock ${how}${Math.round(Math.abs(clock.lagMs))} ms ${clock.lagMs < 0 ? 'ahead' : 'behind'}`, ...said]
}

type ButtonName = 'start' | 'resume' | 'move' | 'screen' | 'shutdown' | 'stop'

function showButtons(buttons: Readonly<Record<ButtonName, HTMLButtonElement>>, vm: Vm): void {
  const runs = vm.run.phase === 'running'
  const isFree = vm.operation === null
  buttons.start.hidden = vm.run.phase !== 'stopped'
  buttons.start.disabled = !isFree
  buttons.resume.hidden = vm.state !== 'paused'
  buttons.move.hidden = vm.run.phase === 'stopped'
  buttons.move.disabled = !isFree || !runs
  buttons.screen.hidden = vm.run.phase === 'stopped' || vm.spec.video === 'none'
  buttons.shutdown.hidden = !runs
  buttons.shutdown.disabled = !isFree
  buttons.stop.hidden = !runs
  buttons.stop.disabled = !isFree
}
