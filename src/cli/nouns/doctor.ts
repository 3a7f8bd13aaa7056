/** `holdfast doctor` */
import type { Command } from 'commander'
import { describeError, HoldfastError } from '../../base/errors.ts'
import type { Finding } from '../../agent/main.ts'
import type { Cli } from '../cli.ts'
import { Exit, exitCodes } from '../exit-codes.ts'
import { choice } from '../options.ts'
import { writeJson } from '../output/show.ts'
import { counted } from '../output/words.ts'
import { plainText } from '../terminal.ts'
import { lookAtFencing } from './doctor-fencing.ts'

export function define(command: Command, cli: Cli): void {
  command
    .addOption(choice('--role <role>', 'what the machine is to be', ['agent', 'manager', 'lab']).default('agent'))
    .addHelpText('after', '\nThe exit code is 1 when a check found an error; warnings do not change it.')
    .action(async (options: { role: 'agent' | 'manager' | 'lab' }) => {
      const { diagnose } = await import('../../agent/main.ts')
      const show = cli.flags.json ? () => undefined : (finding: Finding) => cli.terminal.out(findingText(cli, finding))
      const findings = await diagnose(options.role, show)
      const manager = await lookAtManager(cli)
      show(manager)
      const fencing = await lookAtFencing(cli)
      if (fencing !== undefined) show(fencing)
      const all = [...findings, manager, ...(fencing === undefined ? [] : [fencing])]
      if (cli.flags.json) writeJson(cli, all)
      else cli.terminal.out(summary(all))
      if (all.some((finding) => finding.verdict === 'error')) throw new Exit(exitCodes.failed)
    })
}

const marks = { ok: ['ok', 32], warning: ['warning', 33], error: ['error', 31] } as const

function findingText(cli: Cli, finding: Finding): string {
  const [word, color] = marks[finding.verdict]
  const mark = word.padEnd(7)
  const head = cli.terminal.isOutTty ? `\u001b[${color}m${mark}\u001b[39m` : mark
  const mend = finding.mend === undefined ? '' : `\n${' '.repeat(9)}${plainText(finding.mend)}`
  return `${head}  ${finding.name}: ${plainText(finding.detail)}${mend}\n`
}

function summary(findings: readonly Finding[]): string {
  const count = (verdict: Finding['verdict']): number =>
    findings.filter((finding) => finding.verdict === verdict).length
  if (count('error') > 0) return `\n${counted(count('error'), 'error')}, ${counted(count('warning'), 'warning')}\n`
  return count('warning') > 0 ? `\n${counted(count('warning'), 'warning')}, no errors\n` : '\nAll is well.\n'
}

/** The manager that commands here speak to: none is no fault. */
async function lookAtManager(cli: Cli): Promise<Finding> {
  const about = { id: 'manager', name: 'manager' }
  try {
    const session = await cli.session()
    const cluster = await session.client.call('getCluster')
    const lost = (await session.list('listHosts')).filter((host) => host.state !== 'connected').map((host) => host.name)
    const words = `${cluster.name} at ${session.settings.url}, version ${cluster.version}`
    if (lost.length === 0) return { ...about, verdict: 'ok', detail: words }
    const mend = 'Look at their power, network and `systemctl status holdfast-agent`.'
    return { ...about, verdict: 'warning', detail: `${words}; not connected: ${lost.join(', ')}`, mend }
  } catch (thrown) {
    if (thrown instanceof HoldfastError && thrown.code === 'not-signed-in') {
      return { ...about, verdict: 'ok', detail: 'none is known here' }
    }
    const mend = (thrown instanceof HoldfastError ? thrown.details.mend : undefined) ?? 'Look whether it runs.'
    return { ...about, verdict: 'error', detail: describeError(thrown), mend }
  }
}
