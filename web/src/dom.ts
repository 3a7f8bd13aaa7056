/** Elements made by hand. Text always becomes a text node: a name can never be markup. */
type Child = Node | string | null

interface Settings {
  readonly class?: string
  readonly title?: string
  readonly onClick?: () => void
  readonly attributes?: Readonly<Record<string, string>>
}

export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  settings: Settings = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag)
  if (settings.class !== undefined) element.className = settings.class
  if (settings.title !== undefined) element.title = settings.title
  for (const [name, value] of Object.entries(settings.attributes ?? {})) element.setAttribute(name, value)
  if (settings.onClick !== undefined) element.addEventListener('click', settings.onClick)
  element.append(...children.filter((child) => child !== null))
  return element
}

/** The element of the page with this id, which index.html has. */
export function byId(id: string): HTMLElement {
  const element = document.getElementById(id)
  if (element === null) throw new Error(`the page has no #${id}`)
  return element
}

/** A message that stays for a while, at the edge of the page. */
export function notice(text: string, kind: 'error' | 'done' = 'error'): void {
  const element = h('p', { class: `notice ${kind}` }, text)
  element.addEventListener('click', () => element.remove())
  byId('notices').append(element)
  setTimeout(() => element.remove(), kind === 'error' ? 15_000 : 5_000)
}

/** Keeps one element per item, in order; elements of items that stay are updated, not made anew. */
export class KeyedList<T> {
  readonly #parent: HTMLElement
  readonly #make: (item: T) => { element: HTMLElement; update: (item: T) => void }
  readonly #key: (item: T) => string
  readonly #shown = new Map<string, { element: HTMLElement; update: (item: T) => void }>()

  constructor(
    parent: HTMLElement,
    key: (item: T) => string,
    make: (item: T) => { element: HTMLElement; update: (item: T) => void },
  ) {
    this.#parent = parent
    this.#key = key
    this.#make = make
  }

  show(items: readonly T[]): void {
    const keys = new Set(items.map(this.#key))
    for (const [key, shown] of this.#shown) {
      if (keys.has(key)) continue
      shown.element.remove()
      this.#shown.delete(key)
    }
    let before: Element | null = null
    for (const item of items) {
      const key = this.#key(item)
      let shown = this.#shown.get(key)
      if (shown === undefined) {
        shown = this.#make(item)
        this.#shown.set(key, shown)
      }
      shown.update(item)
      const next: Element | null = before === null ? this.#parent.firstElementChild : before.nextElementSibling
      if (next !== shown.element) this.#parent.insertBefore(shown.element, next)
      before = shown.element
    }
  }
}
