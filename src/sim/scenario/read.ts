/** Reads a scenario file: what is wrong in it is said with the path of the field and what is allowed there. Nothing is played. */
import { Ajv, type ErrorObject } from 'ajv'
import { HoldfastError } from '../../base/errors.ts'
import { readCommand, type CommandForm } from './commands.ts'
import type { Read } from './forms.ts'
import { listOf, ScenarioFile, type ExpectedEvent, type Step } from './format.ts'
import { readState, type StateForm } from './states.ts'
import { wrongPattern, type Names } from './words.ts'

export interface Scenario {
  readonly name: string
  readonly file: ScenarioFile
  readonly names: Names
}

const validate = new Ajv({ allErrors: true, strict: false, verbose: true }).compile<ScenarioFile>(ScenarioFile)

/** `name`: the file's, for errors. Throws `invalid-request` with all that is wrong. */
export function readScenario(name: string, text: string): Scenario {
  const file = parsed(name, text)
  if (!validate(file)) throw refused(name, shownErrors(validate.errors ?? []))
  const names = namesOf(file)
  const wrong = [...wrongTopology(file, names), ...wrongSteps(file, names), ...wrongExpectations(file, names)]
  if (wrong.length > 0) throw refused(name, wrong)
  return { name, file, names }
}

/** Of a scenario that was read: its sentences are known to mean something. */
export function commandOf(text: string, names: Names): Read<CommandForm> {
  const read = readCommand(text, names)
  if ('wrong' in read) throw new HoldfastError('internal', read.wrong)
  return read
}
export function stateOf(text: string, names: Names): Read<StateForm> {
  const read = readState(text, names)
  if ('wrong' in read) throw new HoldfastError('internal', read.wrong)
  return read
}

/** Whether `after` waits for a state: otherwise for a line of the log. */
export function isState(text: string, names: Names): boolean {
  return !('wrong' in readState(text, names))
}

function parsed(name: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (thrown) {
    throw refused(name, [`it is no JSON: ${thrown instanceof Error ? thrown.message : String(thrown)}`])
  }
}

function refused(name: string, wrong: readonly string[]): HoldfastError {
  return new HoldfastError('invalid-request', `${name}: ${wrong.join('\n  ')}`, { mend: 'See docs/simulation.md.' })
}

function namesOf({ topology, steps }: ScenarioFile): Names {
  const hosts = Array.from({ length: topology.hosts ?? 3 }, (_none, at) => `node${at + 1}`)
  const made = steps.flatMap((step) => listOf(step.do)).flatMap((text) => /^create (\S+)$/.exec(text)?.[1] ?? [])
  return {
    hosts,
    vms: [...Object.keys(topology.vms), ...made],
    datastores: ['shared', ...hosts.map((host) => host.replace('node', 'local'))],
    rules: (topology.rules ?? []).map((rule) => rule.name),
  }
}

function wrongTopology({ topology }: ScenarioFile, { hosts, datastores }: Names): string[] {
  const wrong: string[] = []
  const must = (path: string, name: string | undefined, known: readonly string[]): void => {
    if (name !== undefined && !known.includes(name))
      wrong.push(`topology.${path}: there is no “${name}”; one of: ${known.join(', ')}`)
  }
  const vms = Object.keys(topology.vms)
  for (const [name, vm] of Object.entries(topology.vms)) {
    must(`vms.${name}.on`, vm.on, hosts)
    must(`vms.${name}.datastore`, vm.datastore, datastores)
    for (const [at, each] of (vm.dependsOn ?? []).entries()) must(`vms.${name}.dependsOn[${at}].vm`, each.vm, vms)
  }
  if (Array.isArray(topology.fences)) topology.fences.forEach((name, at) => must(`fences[${at}]`, name, hosts))
  topology.spareFences?.hosts.forEach((name, at) => must(`spareFences.hosts[${at}]`, name, hosts))
  for (const [at, rule] of (topology.rules ?? []).entries()) {
    rule.vms.forEach((name, each) => must(`rules[${at}].vms[${each}]`, name, vms))
    rule.hosts?.forEach((name, each) => must(`rules[${at}].hosts[${each}]`, name, hosts))
  }
  return wrong
}

function wrongSteps({ steps }: ScenarioFile, names: Names): string[] {
  return steps.flatMap((step, at) => wrongStep(step, names).map((what) => `steps[${at}]${what}`))
}

function wrongStep(step: Step, names: Names): string[] {
  const wrong: string[] = []
  if (step.at !== undefined && step.after !== undefined) wrong.push(': at and after exclude each other')
  if (step.do === undefined && step.holds === undefined) wrong.push(': it has neither do nor holds')
  if (step.within !== undefined && step.holds === undefined) wrong.push('.within: it goes with holds')
  if (step.after !== undefined && !isState(step.after, names)) {
    const what = wrongPattern(step.after, names, [])
    if (what !== undefined) wrong.push(`.after: ${what}`)
  }
  for (const text of listOf(step.do)) {
    const read = readCommand(text, names)
    if ('wrong' in read) wrong.push(`.do: ${read.wrong}`)
  }
  for (const text of listOf(step.holds)) {
    const read = readState(text, names)
    if ('wrong' in read) wrong.push(`.holds: ${read.wrong}`)
  }
  return wrong
}

function wrongExpectations({ expect, steps }: ScenarioFile, names: Names): string[] {
  const commands = steps.flatMap((step) => listOf(step.do))
  const wrong: string[] = []
  const pattern = (path: string, text: string | undefined): void => {
    const what = text === undefined ? undefined : wrongPattern(text, names, commands)
    if (what !== undefined) wrong.push(`expect.${path}: ${what}`)
  }
  const event = (path: string, { is, from }: ExpectedEvent): void => {
    pattern(`${path}.is`, is)
    pattern(`${path}.from`, from)
    if (is.startsWith('do ')) wrong.push(`expect.${path}.is: what a step does is no expectation`)
  }
  for (const [at, each] of (expect.events ?? []).entries()) {
    if ('is' in each) event(`events[${at}]`, each)
    else each.anyOrder.forEach((one, of) => event(`events[${at}].anyOrder[${of}]`, one))
  }
  for (const [at, each] of (expect.never ?? []).entries()) {
    if (typeof each === 'string') pattern(`never[${at}]`, each)
    else for (const key of ['is', 'before', 'after'] as const) pattern(`never[${at}].${key}`, each[key])
  }
  for (const key of ['held', 'settled'] as const) {
    for (const [at, text] of (expect[key] ?? []).entries()) {
      const read = readState(text, names)
      if ('wrong' in read) wrong.push(`expect.${key}[${at}]: ${read.wrong}`)
    }
  }
  if (expect.events === undefined && expect.held === undefined && expect.settled === undefined)
    wrong.push('expect: it says nothing that must be: events, held or settled')
  return wrong
}

/** Of the alternatives of a field only the best is told of; that is the one that got furthest. */
function shownErrors(errors: readonly ErrorObject[]): string[] {
  const own = errors.filter(({ keyword }) => keyword !== 'anyOf')
  const shown = own.length > 0 ? own : errors
  return [...new Set(shown.map((error) => `${fieldOf(error)} ${sayOf(error)}`))].slice(0, 8)
}

function fieldOf({ instancePath, params }: ErrorObject): string {
  const parts = instancePath.split('/').slice(1)
  const more: unknown = params['additionalProperty'] ?? params['missingProperty']
  if (typeof more === 'string') parts.push(more)
  const path = parts.map((part) => (/^\d+$/.test(part) ? `[${part}]` : `.${part}`)).join('')
  return path.startsWith('.') ? path.slice(1) : path === '' ? 'the file' : path
}

function sayOf({ keyword, params, message, schema, parentSchema }: ErrorObject): string {
  switch (keyword) {
    case 'additionalProperties':
      return `is unknown${knownFields(parentSchema)}`
    case 'required':
      return 'is missing'
    case 'enum':
      return `must be one of ${(params['allowedValues'] as unknown[]).join(', ')}`
    case 'pattern': {
      const { description } = (parentSchema ?? {}) as { description?: string }
      return `must look like ${description ?? String(schema)}`
    }
    default:
      return message ?? 'is malformed'
  }
}

function knownFields(parent: ErrorObject['parentSchema']): string {
  const { properties } = (parent ?? {}) as { properties?: object }
  return properties === undefined ? '' : `; known are ${Object.keys(properties).join(', ')}`
}
