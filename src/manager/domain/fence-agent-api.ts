/**
 * The fence-agent API (https://github.com/ClusterLabs/fence-agents, FenceAgentAPI): a program gets `key=value` lines on its
 * standard input and answers by its exit code; `action=metadata` prints an XML description of its options. Pure.
 */
import { HoldfastError } from '../../base/errors.ts'
import { withoutSecrets } from './hidden-words.ts'

export const fenceActions = ['off', 'on', 'status'] as const
export type FenceAction = (typeof fenceActions)[number]

export interface FenceAgentMetadata {
  readonly parameters: readonly string[]
  readonly actions: readonly string[]
}

/** What an agent printed, in so far as people get to see it. */
const longestWords = 300
const longestMetadata = 1024 * 1024

/** Options that are ours to say, that would write files or run programs on the manager, or that only make noise. */
const reserved = new Set([
  'action',
  'option',
  'debug',
  'debug_file',
  'verbose',
  'verbose_level',
  'quiet',
  'version',
  'help',
])
const runsPrograms = /_(path|script|command|cmd)$/

/** Whether a value of this option must never be shown. */
export function isSecretOption(name: string): boolean {
  return /passw|passphrase|secret|token|communit|(^|_)key$/.test(plainName(name))
}

/** Agents take dashes and underscores as the same. */
export function plainName(name: string): string {
  return name.toLowerCase().replaceAll('-', '_')
}

/** The agent's standard input. */
export function agentInput(action: FenceAction | 'metadata', options: Readonly<Record<string, string>>): string {
  const lines = Object.entries(options).map(([name, value]) => `${name}=${oneLine(name, value)}`)
  return [`action=${action}`, ...lines, ''].join('\n')
}

function oneLine(name: string, value: string): string {
  // A second line would be another option.
  if (/[\r\n\0]/.test(value)) throw new HoldfastError('invalid-request', `the value of ${name} must be one line`)
  return value
}

/** What the exit code of `status` says; undefined: neither on nor off. */
export function powerOf(code: number): 'on' | 'off' | undefined {
  return code === 0 ? 'on' : code === 2 ? 'off' : undefined
}

/** The end of what an agent said, without any of the secrets. */
export function agentWords(text: string, secrets: readonly string[]): string {
  const line = withoutSecrets(text, secrets).replaceAll(/\s+/g, ' ').trim()
  return line.length > longestWords ? `…${line.slice(-longestWords)}` : line
}

const tag = /<([A-Za-z][A-Za-z0-9_-]*)((?:\s+[A-Za-z_:][A-Za-z0-9_:.-]*\s*=\s*(?:"[^"<]*"|'[^'<]*'))*)\s*\/?>/g
const attribute = /([A-Za-z_:][A-Za-z0-9_:.-]*)\s*=\s*(?:"([^"<]*)"|'([^'<]*)')/g

/** Reads what `action=metadata` printed. Throws `host-error` when it is no description of a fence agent. */
export function parseMetadata(agent: string, xml: string): FenceAgentMetadata {
  const parameters: string[] = []
  const actions: string[] = []
  const bare = xml.slice(0, longestMetadata).replaceAll(/<!--[\s\S]*?-->|<!\[CDATA\[[\s\S]*?\]\]>/g, '')
  for (const [, element, attributes = ''] of bare.matchAll(tag)) {
    const name = nameIn(attributes)
    if (name === undefined) continue
    if (element === 'parameter') parameters.push(name)
    if (element === 'action') actions.push(name)
  }
  if (parameters.length > 0 && actions.length > 0) return { parameters: [...new Set(parameters)], actions }
  throw new HoldfastError('host-error', `${agent} does not describe itself as a fence agent`, {
    mend: `Run \`${agent} -o metadata\` on the manager and see what it prints.`,
  })
}

function nameIn(attributes: string): string | undefined {
  for (const [, key, double, single] of attributes.matchAll(attribute)) {
    if (key === 'name') return double ?? single
  }
  return undefined
}

/** Refuses what an agent cannot do or does not know. Throws `invalid-request`. */
export function checkOptions(agent: string, names: readonly string[], metadata: FenceAgentMetadata): void {
  const missing = ['off', 'status'].filter((action) => !metadata.actions.includes(action))
  if (missing.length > 0) {
    throw new HoldfastError('invalid-request', `${agent} cannot do ${missing.join(' and ')}`, {
      mend: 'Use an agent that switches power and says how it stands.',
    })
  }
  const isUsable = (name: string): boolean => !reserved.has(plainName(name)) && !runsPrograms.test(plainName(name))
  const known = metadata.parameters.filter(isUsable)
  const plain = new Set(known.map(plainName))
  const unknown = names.filter((name) => !plain.has(plainName(name)))
  if (unknown.length === 0) return
  const isForbidden = unknown.some((name) => !isUsable(name))
  const why = isForbidden ? 'is not for you to set' : 'is unknown to it'
  throw new HoldfastError('invalid-request', `${agent}: the option ${unknown.join(', ')} ${why}`, {
    mend: `It knows: ${known.join(', ')}.`,
  })
}
