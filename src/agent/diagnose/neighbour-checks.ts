/** What else lives on the machine: VMs of other software, and what a lab left behind. */
import type { DiagnosePorts } from './diagnose.ts'
import { fine, warning, type Check, type Finding } from './finding.ts'
import { foreignVms } from '../foreign-vms.ts'

type Look = Omit<Finding, 'id' | 'name'>

export function neighbourChecks(ports: DiagnosePorts): Check[] {
  return [
    { id: 'foreign-vms', name: 'VMs of others', look: () => lookAtForeignVms(ports) },
    { id: 'leftovers', name: 'leftovers of a lab', look: () => lookAtLeftovers(ports) },
  ]
}

async function lookAtForeignVms({ files }: DiagnosePorts): Promise<Look> {
  const vms = await foreignVms(files, '/run/holdfast')
  if (vms.length === 0) return fine('none')
  const words = vms.map((vm) => `${vm.name === '' ? 'nameless' : vm.name} (${vm.owner}, pid ${vm.pid})`).join(', ')
  return fine(`${words}: left alone`)
}

/**
 * A lab that lives has its folder in /run/holdfast/labs and a program `labd` that answers; namespaces and control groups of
 * its name without either are what a killed one left.
 */
async function lookAtLeftovers({ files }: DiagnosePorts): Promise<Look> {
  const list = (path: string): Promise<string[]> => files.list(path).catch(() => [])
  const namespaces = (await list('/run/netns')).flatMap((name) => /^hf-([a-z][a-z0-9]{0,8})-/.exec(name)?.[1] ?? [])
  const groups = (await Promise.all(['/sys/fs/cgroup', '/sys/fs/cgroup/unified'].map(list)))
    .flat()
    .flatMap((name) => /^holdfast-lab-([a-z][a-z0-9]{0,8})$/.exec(name)?.[1] ?? [])
  const labs = [...new Set([...namespaces, ...groups])].sort()
  const dead: string[] = []
  for (const lab of labs) {
    if (!(await labLives(files, lab))) dead.push(lab)
  }
  if (dead.length === 0) return fine(labs.length === 0 ? 'none' : `none; lab ${labs.join(', ')} runs`)
  const commands = dead.map((lab) => `\`sudo holdfast lab down${lab === 'lab' ? '' : ` --name ${lab}`}\``)
  return warning(`of ${dead.join(', ')}`, `Run ${commands.join(' and ')}.`)
}

async function labLives(files: DiagnosePorts['files'], lab: string): Promise<boolean> {
  const folder = (await files.readText(`/run/holdfast/labs/${lab}`).catch(() => '')).trim()
  if (folder === '') return false
  for (const pid of await files.list('/proc')) {
    if (!/^[0-9]+$/.test(pid)) continue
    const words = (await files.readText(`/proc/${pid}/cmdline`).catch(() => '')).split('\0')
    if (words.includes('labd') && words.includes(lab)) return true
  }
  return false
}
