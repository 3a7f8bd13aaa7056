/**
 * Which file a node number of the kernel stands for. A node is a name in a parent, so that renaming a folder moves all
 * that is below it; one that was unlinked has no path any more, and only open handles reach it.
 */
export const rootNode = 1

interface Node {
  readonly id: number
  parent: Node | undefined
  name: string
  readonly children: Map<string, Node>
  /** How often the kernel was told of it; at none it is forgotten. */
  lookups: number
}

export class Nodes {
  readonly #root: string
  readonly #nodes = new Map<number, Node>()
  #next = rootNode + 1

  constructor(root: string) {
    this.#root = root
    this.#nodes.set(rootNode, { id: rootNode, parent: undefined, name: '', children: new Map(), lookups: 1 })
  }

  /** The path of a node; undefined when it was unlinked. */
  path(id: number): string | undefined {
    const names: string[] = []
    let at = this.#nodes.get(id)
    while (at !== undefined && at.id !== rootNode) {
      names.push(at.name)
      at = at.parent
    }
    return at === undefined ? undefined : [this.#root, ...names.reverse()].join('/')
  }

  childPath(parent: number, name: string): string | undefined {
    const folder = this.path(parent)
    return folder === undefined ? undefined : `${folder}/${name}`
  }

  /** The node of a name that is there, counted as told to the kernel once more. */
  remember(parentId: number, name: string): number {
    const parent = this.#nodes.get(parentId)
    let node = parent?.children.get(name)
    if (node === undefined) {
      node = { id: this.#next++, parent, name, children: new Map(), lookups: 0 }
      this.#nodes.set(node.id, node)
      parent?.children.set(name, node)
    }
    node.lookups++
    return node.id
  }

  forget(id: number, count: number): void {
    const node = this.#nodes.get(id)
    if (node === undefined || id === rootNode) return
    node.lookups -= count
    if (node.lookups > 0) return
    this.#detach(node)
    this.#nodes.delete(id)
  }

  unlinked(parentId: number, name: string): void {
    const node = this.#nodes.get(parentId)?.children.get(name)
    if (node !== undefined) this.#detach(node)
  }

  renamed(fromParent: number, fromName: string, toParent: number, toName: string): void {
    const node = this.#nodes.get(fromParent)?.children.get(fromName)
    this.unlinked(toParent, toName)
    if (node === undefined) return
    this.#detach(node)
    node.parent = this.#nodes.get(toParent)
    node.name = toName
    node.parent?.children.set(toName, node)
  }

  #detach(node: Node): void {
    if (node.parent?.children.get(node.name) === node) node.parent.children.delete(node.name)
    node.parent = undefined
  }
}
