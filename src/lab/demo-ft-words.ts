/** What `holdfast lab demo ft` says, and when it may begin. Pure. */
import { HoldfastError } from '../base/errors.ts'
import type { Host, Vm } from '../contracts/inventory.ts'
import type { TickLog } from './tick-log.ts'

export const demoVm = 'demo-ft'

export interface FtResult {
  readonly name: string
  readonly from: string
  readonly to: string
  /** Of the client's one connection, when the host died. */
  readonly silenceMs: number
  /** The longest silence of the seconds before. */
  readonly usualSilenceMs: number
  readonly ticks: number
  readonly ticksLost: number
  readonly ticksRepeated: number
  /** Until a second copy was in step again, from the crash on. */
  readonly protectedAgainMs: number
  /** Who holds the second copy now. */
  readonly second: string
}

/** Throws `wrong-state` where one host's crash would leave nobody to go on. */
export function checkHosts(hosts: readonly Pick<Host, 'name' | 'state' | 'maintenance'>[]): void {
  const up = hosts.filter(({ state, maintenance }) => state === 'connected' && maintenance === 'off')
  if (up.length >= 2) return
  const which = up.length === 0 ? 'none is' : `only ${up[0]?.name} is`
  throw new HoldfastError('wrong-state', `two hosts have to be up, and ${which}`, {
    mend:
      hosts.length < 2
        ? 'Bring up a lab with more: `holdfast lab up --hosts 3`.'
        : 'Run `holdfast lab heal`, and see `holdfast host list`.',
  })
}

export function protectionWord(vm: Vm): string {
  const { protection } = vm
  switch (protection.state) {
    case 'unprotected':
      return 'not protected'
    case 'unprotected-because':
      return `not protected: ${protection.reason}`
    case 'syncing':
      return `second copy on ${protection.second} ${Math.floor(protection.progress * 100)} %`
    case 'protected':
      return `protected by ${protection.second}`
    case 'failing-over':
      return `${protection.second} takes over`
  }
}

/** Where it runs and how it is, and what the client hears, where there is one. Fits a line of 80 columns. */
export function liveWords(vm: Vm, log: TickLog | undefined, now: number): string {
  const how = `${vm.host ?? 'nowhere'}, ${protectionWord(vm)}`
  if (log === undefined) return how
  const { from, to } = log.longestSilence(now - 1000, now)
  return `${how}, ${log.ticks} ticks, longest silence in 1 s: ${Math.round(to - from)} ms`
}

/** What became of the client's connection. */
export function wholeWords(log: TickLog): string {
  const lost = log.lost === 0 ? 'none was lost' : `${log.lost} were lost`
  const repeated = log.repeated === 0 ? 'none came twice' : `${log.repeated} came twice`
  const broken = log.broken === 0 ? '' : `, ${log.broken} were broken`
  return `${log.ticks} ticks on one connection: ${lost}, ${repeated}${broken}`
}

export function summaryWords(result: FtResult, program: string): string {
  const { name, from, to, silenceMs, usualSilenceMs, protectedAgainMs, second } = result
  const lost = result.ticksLost + result.ticksRepeated
  return [
    '',
    `${name} ran on ${from}, which died; it runs on ${to}, protected by ${second}.`,
    '',
    `  silence     ${silenceMs} ms (${usualSilenceMs} ms at most before)`,
    `  ticks       ${result.ticks} on one connection, ${lost === 0 ? 'none lost, none twice' : `${lost} LOST OR TWICE`}`,
    `  protected   again after ${(protectedAgainMs / 1000).toFixed(1)} s`,
    '',
    `It runs on, for another time. To remove it: ${program} vm stop ${name} && ${program} vm delete ${name}`,
    '',
  ].join('\n')
}
