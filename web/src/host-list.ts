/** The hosts: state, load, and how much of their memory is promised. */
import type { Host } from '../../src/contracts/inventory.ts'
import { h, KeyedList } from './dom.ts'
import { memory, percent } from './words.ts'

export class HostList {
  readonly element = h('section', { attributes: { 'aria-label': 'Hosts' } }, h('h2', {}, 'Hosts'))
  readonly #list: KeyedList<Host>
  readonly #empty = h(
    'p',
    { class: 'hint' },
    'No host has joined yet: holdfast manager token, then holdfast agent join.',
  )

  constructor() {
    const cards = h('div', { class: 'cards' })
    this.element.append(this.#empty, cards)
    this.#list = new KeyedList(cards, (host) => host.id, hostCard)
  }

  show(hosts: readonly Host[]): void {
    this.#empty.hidden = hosts.length > 0
    this.#list.show(hosts)
  }
}

function hostCard(): { element: HTMLElement; update: (host: Host) => void } {
  const name = h('strong')
  const state = h('span', { class: 'state' })
  const facts = h('div', { class: 'facts' })
  const cpu = meter('CPU')
  const ram = meter('Memory')
  const element = h(
    'article',
    { class: 'card' },
    h('div', { class: 'title' }, name, state),
    facts,
    cpu.element,
    ram.element,
  )
  const update = (host: Host): void => {
    name.textContent = host.name
    const word = host.state === 'connected' && host.maintenance !== 'off' ? 'maintenance' : host.state
    state.textContent = word
    state.dataset['state'] = word
    const what = host.facts
    facts.textContent =
      what === null
        ? 'has not reported yet'
        : `${host.vmCount} VM${host.vmCount === 1 ? '' : 's'} · QEMU ${what.qemu.version.split(' ', 1).join('')} · ${what.accelerator.kind.toUpperCase()}`
    facts.title = what === null ? '' : `${what.cpu.model}; ${what.accelerator.reason}`
    cpu.show(host.load?.cpuUsed ?? 0, what === null ? '' : `${what.cpu.cores} cores`)
    const total = what?.memoryMiB ?? 0
    ram.show(total === 0 ? 0 : host.committedMiB / total, `${memory(host.committedMiB)} of ${memory(total)} promised`)
  }
  return { element, update }
}

function meter(label: string): { element: HTMLElement; show: (fraction: number, words: string) => void } {
  const bar = h('progress', { attributes: { max: '1', 'aria-label': label } })
  const words = h('span')
  const element = h('label', { class: 'meter' }, h('span', {}, label), bar, words)
  return {
    element,
    show: (fraction, text) => {
      bar.value = Math.min(1, fraction)
      words.textContent = percent(fraction)
      element.title = text
    },
  }
}
