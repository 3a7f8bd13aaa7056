/** What the lab's verbs print for people. */
import type { Lab } from './lab.ts'
import type { LabStatus } from './status.ts'
import type { UpResult } from './up.ts'

/** How to go on after `lab up`. */
export function describeUp(lab: Lab, result: UpResult, status: LabStatus): string {
  const { file, link } = result
  const first = result.isNew
    ? `The lab "${lab.name}" is up:`
    : `The lab "${lab.name}" runs already; nothing was changed.`
  const hosts = status.nodes.filter(({ name }) => name !== 'manager').length
  const reach = lab.isDefault
    ? []
    : [
        `  For the CLI: export HOLDFAST_URL=${file.url} HOLDFAST_TOKEN=${file.token} HOLDFAST_CA=${lab.folder}/ca.pem`,
        '',
      ]
  return [
    '',
    `${first} a manager and ${hosts} hosts.`,
    '',
    `  Web page   ${link}`,
    "             (signs in once; the certificate is of the lab's own authority)",
    `  API token  ${file.token}`,
    '',
    ...reach,
    'Try next:',
    '  holdfast vm list',
    '  holdfast vm migrate alpha --to host2',
    '  holdfast lab crash host1',
    '',
    `holdfast lab${lab.isDefault ? '' : ` --name ${lab.name}`} status shows it, heal ends every fault, down removes it.`,
    '',
  ].join('\n')
}

export function describeStatus(status: LabStatus): string {
  const header = ['NODE', 'POWER', 'STATE', 'ADDRESS', 'VMS', 'WATCHDOG', 'FAULTS']
  const rows = status.nodes.map((node) => [
    node.name,
    node.power,
    node.state,
    node.address,
    node.vms === null ? '-' : String(node.vms),
    node.watchdogMs === null ? 'off' : `${node.watchdogMs / 1000} s`,
    [...node.faults, ...node.missingLinks.map((link) => `no cable to ${link}`)].join(', ') || '-',
  ])
  const cuts = status.cuts.map(({ from, to, network }) => `  ${from} -> ${to} on ${network}`)
  return [
    `lab ${status.name} (${status.phase}) ${status.url}`,
    table([header, ...rows]),
    ...(cuts.length === 0 ? [] : ['cut:', ...cuts]),
    '',
  ].join('\n')
}

function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => (row[i] ?? '').length)))
  return rows
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
