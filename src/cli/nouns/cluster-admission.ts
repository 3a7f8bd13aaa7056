/** `holdfast cluster admission` and `holdfast cluster change` */
import type { Command } from 'commander'
import { HoldfastError } from '../../base/errors.ts'
import { admissionPolicies } from '../../contracts/restart-words.ts'
import type { AdmissionReport, AdmissionSettings, ChangeCluster } from '../../contracts/restart.ts'
import type { Cli } from '../cli.ts'
import { choice, countOption, given, secondsOption } from '../options.ts'
import { writeDone, writeFacts } from '../output/show.ts'
import { memoryWords } from '../output/words.ts'

interface ChangeFlags {
  readonly admission?: AdmissionSettings['policy']
  readonly hostFailures?: number
  readonly percent?: number
  readonly levelWait?: number
  readonly startsPerHost?: number
}

const examples = `
Examples:
  holdfast cluster change --admission hosts --host-failures 1
  holdfast cluster change --admission percent --percent 25
  holdfast cluster change --level-wait 2min --starts-per-host 8`

export function defineAdmission(command: Command, cli: Cli): void {
  command
    .command('admission')
    .description('show the room that is kept for failures of hosts, and how many the cluster survives now')
    .action(async () => {
      const session = await cli.session()
      const report = await session.client.call('getAdmission')
      writeFacts(cli, report, admissionFacts(report))
    })
  command
    .command('change')
    .description('change what is kept free for failures of hosts, and how VMs are started again')
    .addOption(choice('--admission <policy>', 'what is kept free', admissionPolicies))
    .option('--host-failures <count>', 'with hosts: so many hosts may fail at once (1 to 4)', countOption)
    .option('--percent <percent>', 'with percent: so much of the memory', countOption)
    .option('--level-wait <time>', 'how long one VM holds up lower restart priorities', secondsOption)
    .option('--starts-per-host <count>', 'VMs that start again on one host at a time', countOption)
    .addHelpText('after', examples)
    .action(async (options: ChangeFlags) => {
      const session = await cli.session()
      const changed = await session.change('changeCluster', { body: changeBody(options) })
      writeDone(cli, changed, `${changed.name} is changed`)
    })
}

/** The request that the options stand for. Exported for its test. */
export function changeBody({ admission, hostFailures, percent, levelWait, startsPerHost }: ChangeFlags): ChangeCluster {
  if (admission === undefined && (hostFailures ?? percent) !== undefined) {
    throw new HoldfastError('invalid-request', '--host-failures and --percent go with --admission')
  }
  const restart = given({
    levelWaitSeconds: levelWait === undefined ? undefined : Math.round(levelWait),
    startsPerHost,
  })
  const body = given({
    restart: Object.keys(restart).length === 0 ? undefined : restart,
    admission: admission === undefined ? undefined : given({ policy: admission, hosts: hostFailures, percent }),
  })
  if (Object.keys(body).length > 0) return body
  throw new HoldfastError('invalid-request', 'nothing to change is given', {
    mend: '`holdfast cluster change --help` shows what can change.',
  })
}

type Fact = readonly [string, string | undefined]

/** What people are told. Exported for its test. */
export function admissionFacts(report: AdmissionReport): Fact[] {
  const { capacityMiB, usedMiB, reservedMiB } = report
  const failing = report.each.filter((each) => !each.fits)
  return [
    ['admission', settingsWords(report.settings)],
    ['capacity', memoryWords(capacityMiB)],
    ['used', memoryWords(usedMiB)],
    ['reserved', memoryWords(reservedMiB)],
    ['free', memoryWords(Math.max(0, capacityMiB - usedMiB))],
    ['is kept', report.settings.policy === 'off' ? undefined : report.isKept ? 'yes' : 'NO'],
    ['survives', `${report.survives} host ${report.survives === 1 ? 'failure' : 'failures'}`],
    ['weak hosts', linesOf(failing.map((each) => each.problem ?? each.hosts.join(', ')))],
    ['worst', report.worst?.problem ?? undefined],
    ['bound', linesOf(report.bound.map((vm) => `${vm.name}: ${vm.why}`))],
  ]
}

function settingsWords({ policy, hosts, percent }: AdmissionSettings): string {
  switch (policy) {
    case 'off':
      return 'off'
    case 'hosts':
      return `room for ${hosts ?? 1} host ${hosts === 1 ? 'failure' : 'failures'}`
    case 'percent':
      return `${percent ?? 25} % of the memory`
  }
}

/** Some, and how many more. */
function linesOf(lines: readonly string[]): string | undefined {
  if (lines.length === 0) return undefined
  const more = lines.length > 5 ? [`and ${lines.length - 5} more`] : []
  return [...lines.slice(0, 5), ...more].join('\n')
}
