/** What the lab's verbs print for people. */
import type { Lab } from './lab.ts'
import { isManager } from './names.ts'
import type { LabStatus } from './status.ts'
import type { UpResult } from './up.ts'

export interface UpFacts {
  /** How this person calls the program: `sudo ./holdfast`. */
  readonly program: string
  /** A VM that runs, and a host that it is not on. */
  readonly move?: { readonly vm: string; readonly from: string; readonly to: string }
}

/** How to go on after `lab up`. */
export function describeUp(lab: Lab, result: UpResult, status: LabStatus, facts: UpFacts): string {
  const { file, link } = result
  const hosts = status.nodes.filter(({ name }) => !isManager(name)).length
  const count = status.nodes.length - hosts
  const managers = count === 1 ? 'a manager' : `${count} managers`
  const which = lab.isDefault ? '' : ` --name ${lab.name}`
  const { program, move } = facts
  const environment = [
    `  For the CLI: export HOLDFAST_URL=${file.url} HOLDFAST_CA=${lab.folder}/ca.pem \\`,
    `                      HOLDFAST_TOKEN=${file.token}`,
    '',
  ]
  return [
    '',
    result.isNew
      ? `The lab "${lab.name}" is up: ${managers} and ${hosts} hosts.`
      : `The lab "${lab.name}" runs already (${managers} and ${hosts} hosts); nothing was changed.`,
    '',
    `  Web page   ${link}`,
    "             signs in once; the browser asks about the certificate, which is of the lab's own authority",
    `  API token  ${file.token}`,
    '',
    ...(lab.isDefault ? [] : environment),
    'Try next:',
    `  ${program} vm list`,
    ...(move === undefined ? [] : [`  ${program} vm migrate ${move.vm} --to ${move.to}`]),
    `  ${program} lab crash ${move?.to ?? 'host1'}${which}`,
    '',
    `\`${program} lab status${which}\` shows faults, \`lab heal\` ends them, \`lab down\` removes the lab.`,
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
