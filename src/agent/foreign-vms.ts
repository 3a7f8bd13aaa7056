/** QEMU processes that are not ours: libvirt's, Proxmox's, a person's. They are listed and never touched. */
import type { Files } from '../base/files.ts'
import type { HostFacts } from '../contracts/host.ts'

type ForeignVm = HostFacts['foreignVms'][number]

export async function foreignVms(files: Files, runRoot: string): Promise<ForeignVm[]> {
  const pids = (await files.list('/proc')).filter((name) => /^[0-9]+$/.test(name))
  const found = await Promise.all(
    pids.map(async (pid) => {
      const text = await files.readText(`/proc/${pid}/cmdline`).catch(() => '')
      return describe(Number(pid), text.split('\0'), runRoot)
    }),
  )
  return found.filter((vm) => vm !== undefined)
}

/** What a command line tells; undefined when it is no QEMU, or one of ours. */
export function describe(pid: number, argv: readonly string[], runRoot: string): ForeignVm | undefined {
  const program = argv[0]?.split('/').at(-1) ?? ''
  if (!/^(qemu-system-|qemu-kvm$|kvm$)/.test(program)) return undefined
  const line = argv.join(' ')
  // Ours, also those of another data folder or a lab on this machine.
  if (line.includes(`${runRoot}/`) || /^guest=.*,process=holdfast-/.test(valueOf(argv, '-name'))) return undefined
  // A QEMU that is only asked what it can do, by libvirt or by us, is no VM.
  if (/^none\b/.test(valueOf(argv, '-machine')) || valueOf(argv, '-qmp') === 'stdio') return undefined
  return { owner: ownerOf(line), name: nameOf(argv), pid }
}

function ownerOf(line: string): string {
  if (line.includes('/var/run/qemu-server/') || line.includes('/run/qemu-server/')) return 'proxmox'
  if (line.includes('/libvirt/')) return 'libvirt'
  return 'unknown'
}

/** In QEMU's syntax a comma within a value is written twice. */
function nameOf(argv: readonly string[]): string {
  const [first = ''] = /^(?:[^,]|,,)*/.exec(valueOf(argv, '-name')) ?? []
  return first.replace(/^guest=/, '').replaceAll(',,', ',')
}

function valueOf(argv: readonly string[], option: string): string {
  const at = argv.indexOf(option)
  return at < 0 ? '' : (argv[at + 1] ?? '')
}
