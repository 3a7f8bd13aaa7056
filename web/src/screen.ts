/**
 * A VM's live screen, by noVNC over a one-use ticket. When the VM moves, the connection closes and is made again to where
 * it runs now; the picture stays until the new one is there.
 */
import type { Vm } from '../../src/contracts/inventory.ts'
import { api, ApiError } from './api.ts'
import { h } from './dom.ts'

interface Rfb extends EventTarget {
  scaleViewport: boolean
  background: string
  focus(): void
  disconnect(): void
  sendCtrlAltDel(): void
}
type RfbClass = new (target: HTMLElement, channel: WebSocket, options: { shared: boolean }) => Rfb

/** Served as it comes; loaded when the first screen is opened. */
const novncPath = '/novnc/core/rfb.js'
const retryMs = 400
const patienceMs = 60_000

let novnc: RfbClass | undefined

/** A browser remembers that a module could not be loaded; under another address it tries again. */
async function loadNovnc(attempt: number): Promise<RfbClass> {
  const path = attempt === 0 ? novncPath : `${novncPath}?again=${attempt}`
  novnc ??= ((await import(path)) as { default: RfbClass }).default
  return novnc
}

export function openScreen(vm: Vm): void {
  new Screen(vm).open()
}

class Screen {
  readonly #vm: Vm
  readonly #dialog: HTMLDialogElement
  readonly #status = h('span', { class: 'hint' }, 'connecting …')
  readonly #stage = h('div', { class: 'stage' })
  #rfb: Rfb | undefined
  #isOpen = true

  constructor(vm: Vm) {
    this.#vm = vm
    this.#dialog = h(
      'dialog',
      { class: 'screen', attributes: { 'aria-label': `Screen of ${vm.name}` } },
      h(
        'div',
        { class: 'line' },
        h('strong', {}, vm.name),
        this.#status,
        h('button', { onClick: () => this.#rfb?.sendCtrlAltDel() }, 'Ctrl-Alt-Del'),
        h('button', { class: 'quiet', onClick: () => this.#dialog.close() }, 'Close'),
      ),
      this.#stage,
    )
  }

  open(): void {
    this.#dialog.addEventListener('close', () => {
      this.#isOpen = false
      this.#rfb?.disconnect()
      this.#dialog.remove()
    })
    // Escape belongs to the guest.
    this.#dialog.addEventListener('cancel', (event) => event.preventDefault())
    document.body.append(this.#dialog)
    this.#dialog.showModal()
    void this.#stayConnected()
  }

  async #stayConnected(): Promise<void> {
    let giveUpAt = performance.now() + patienceMs
    for (let attempt = 0; this.#isOpen; attempt++) {
      try {
        const rfbClass = await loadNovnc(attempt)
        const { url } = await api.ticket(this.#vm.id)
        const ended = await this.#connect(rfbClass, url)
        if (ended === 'shown') giveUpAt = performance.now() + patienceMs
        this.#status.textContent = 'the connection ended; connecting again …'
      } catch (thrown) {
        const isOver = thrown instanceof ApiError && (thrown.status === 401 || thrown.status === 404)
        this.#status.textContent = thrown instanceof Error ? thrown.message : String(thrown)
        if (isOver || performance.now() > giveUpAt) return
      }
      await new Promise((done) => setTimeout(done, retryMs))
    }
  }

  /** Resolves when the connection has ended: after a picture was shown, or before. */
  #connect(rfbClass: RfbClass, url: string): Promise<'shown' | 'never'> {
    return new Promise((resolve) => {
      const socket = new WebSocket(`wss://${location.host}${url}`, ['binary'])
      const place = h('div', { class: 'picture' })
      this.#stage.append(place)
      const rfb = new rfbClass(place, socket, { shared: true })
      let isShown = false
      rfb.scaleViewport = true
      rfb.background = 'transparent'
      rfb.addEventListener('connect', () => {
        isShown = true
        this.#status.textContent = ''
        // The picture before this one has stood until now.
        for (const old of [...this.#stage.children]) if (old !== place) old.remove()
        rfb.focus()
      })
      rfb.addEventListener('disconnect', () => {
        if (this.#rfb === rfb) this.#rfb = undefined
        if (!isShown) place.remove()
        resolve(isShown ? 'shown' : 'never')
      })
      this.#rfb = rfb
    })
  }
}
