/** VMs that other software runs on this machine. They are shown, and left alone. */
import type { Files } from '../../base/files.ts'

export interface ForeignVm {
  /** `libvirt`, `proxmox` or `incus`. */
  readonly owner: string
  readonly name: string
  readonly pid: number
}

/** Looks through all processes for QEMUs that libvirt, Proxmox VE or Incus started. */
export async function findForeignVms(files: Pick<Files, 'list' | 'readText'>): Promise<ForeignVm[]> {
  const found: ForeignVm[] = []
  for (const entry of await files.list('/proc')) {
    if (!/^[0-9]+$/.test(entry)) continue
    // A process may end between the two looks.
    const text = await files.readText(`/proc/${entry}/cmdline`).catch(() => '')
    const vm = foreignVmOf(text.split('\0'), Number(entry))
    if (vm !== undefined) found.push(vm)
  }
  return found
}

/** Whose VM a process is, by its command line; undefined for one that is none of these. */
export function foreignVmOf(words: readonly string[], pid: number): ForeignVm | undefined {
  const program = (words[0] ?? '').split('/').at(-1) ?? ''
  if (!/^(?:qemu-system-|qemu-kvm$|kvm$)/.test(program)) return undefined
  const after = (option: string): string | undefined => {
    const at = words.indexOf(option)
    return at < 0 ? undefined : words[at + 1]
  }
  const name = after('-name')
    ?.split(',')
    .find((part, at) => part.startsWith('guest=') || (at === 0 && !part.includes('=')))
    ?.replace(/^guest=/, '')
  const line = words.join(' ')
  if (line.includes('/libvirt/qemu/')) return { owner: 'libvirt', name: name ?? `process ${pid}`, pid }
  if (line.includes('/qemu-server/')) return { owner: 'proxmox', name: name ?? `VM ${after('-id') ?? pid}`, pid }
  if (line.includes('/incus/') || line.includes('/lxd/')) return { owner: 'incus', name: name ?? `process ${pid}`, pid }
  return undefined
}
