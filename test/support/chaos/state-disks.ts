/**
 * File systems of their own for what the programs of a lab keep: a manager's folder with its member of etcd, and the folder
 * of a host's agent. So these can be full while nothing else is. They go with the lab, as all below its folder does.
 */
import { fillFolder, unfillFolder } from '../../../src/lab/mounts.ts'
import { isManager, nodeFolders } from '../../../src/lab/names.ts'
import { managersOf } from '../../../src/lab/state.ts'
import type { TestLab } from '../lab.ts'

/** etcd keeps some files of 64 MiB, at once or one after the other. The disk is sparse. */
const sizes = { manager: '768M', host: '128M' }

/** `$1` image, `$2` size, `$3` the folder that moves onto it. */
const move = `
set -e
mkdir -p "$(dirname "$1")" "$3" "$1.new"
truncate -s "$2" "$1"
mke2fs -q -F -t ext4 -m 0 -J size=8 -E lazy_itable_init=1,lazy_journal_init=1,nodiscard "$1"
mount -t ext4 -o loop,discard "$1" "$1.new"
cp -a "$3/." "$1.new/"
umount -n "$1.new"
mount -t ext4 -o loop,discard "$1" "$3"
`

export class StateDisks {
  readonly #lab: TestLab

  private constructor(lab: TestLab) {
    this.#lab = lab
  }

  /** Switches every node off for that, and on again: nothing may run yet. */
  static async make(lab: TestLab): Promise<StateDisks> {
    const disks = new StateDisks(lab)
    const nodes = [...lab.hosts, ...managersOf(await lab.lab.existing())]
    for (const node of nodes) await lab.crash(node)
    for (const node of nodes) {
      const size = isManager(node) ? sizes.manager : sizes.host
      const image = `${lab.lab.folder}/disks/${node}-state.img`
      const { code, stderr } = await lab.ports.processes.run('sh', ['-c', move, 'sh', image, size, disks.#path(node)])
      if (code !== 0) throw new Error(`no disk for the state of ${node}: ${stderr}`)
    }
    // Managers first: so hosts find them.
    for (const node of nodes.reverse()) await lab.boot(node)
    return disks
  }

  async fill(node: string): Promise<void> {
    await fillFolder(this.#lab.ports, this.#path(node))
  }

  async unfill(): Promise<void> {
    const { hosts, lab } = this.#lab
    for (const node of [...hosts, ...managersOf(await lab.existing())])
      await unfillFolder(this.#lab.ports, this.#path(node))
  }

  #path(node: string): string {
    const { data } = nodeFolders(this.#lab.lab.folder, node)
    return isManager(node) ? data : `${data}/agent`
  }
}
