/** What can follow what on the command line, read off the program itself, so that completion knows every new verb. */
import type { Argument, Command, Option } from 'commander'

/** What a value is: `vm`, `host`, … (names that the manager is asked for), `file`, one of some words, or anything. */
export type Value =
  | { readonly kind: 'names'; readonly of: string }
  | { readonly kind: 'file' }
  | { readonly kind: 'words'; readonly words: readonly string[] }
  | { readonly kind: 'any' }

export interface CompletionOption {
  /** `-f`, `--follow` */
  readonly flags: readonly string[]
  readonly summary: string
  /** Absent: the option takes no value. */
  readonly value: Value | undefined
}

export interface CompletionNode {
  /** `vm/list`; empty for the program itself. */
  readonly path: string
  readonly words: readonly { readonly name: string; readonly summary: string }[]
  readonly options: readonly CompletionOption[]
  readonly values: readonly Value[]
}

const namedValues = ['vm', 'host', 'datastore', 'network', 'image', 'rule', 'task', 'token', 'alarm', 'target']
const fileValues = ['file', 'path', 'folder']

/** Every command of the program, the program itself first. */
export function completionModel(root: Command): CompletionNode[] {
  return nodesOf(root, '', root)
}

function nodesOf(command: Command, path: string, root: Command): CompletionNode[] {
  const visible = command.createHelp().visibleCommands(command)
  const options = [...command.options, ...(command === root ? [] : root.options)].filter((option) => !option.hidden)
  const node: CompletionNode = {
    path,
    words: visible.map((verb) => ({ name: verb.name(), summary: verb.description() })),
    options: [...options.map(optionOf), helpOption],
    values: command.registeredArguments.map(argumentValue),
  }
  return [node, ...visible.flatMap((verb) => nodesOf(verb, path === '' ? verb.name() : `${path}/${verb.name()}`, root))]
}

const helpOption: CompletionOption = { flags: ['-h', '--help'], summary: 'show help', value: undefined }

function optionOf(option: Option): CompletionOption {
  const flags = [option.short, option.long].filter((flag) => flag !== undefined)
  const takesValue = option.required || option.optional
  const word = /[<[]([a-z-]+)/.exec(option.flags)?.[1] ?? ''
  return { flags, summary: option.description, value: takesValue ? valueOf(word, option.argChoices) : undefined }
}

function argumentValue(argument: Argument): Value {
  return valueOf(argument.name(), argument.argChoices)
}

function valueOf(word: string, choices: readonly string[] | undefined): Value {
  if (choices !== undefined) return { kind: 'words', words: choices }
  if (namedValues.includes(word)) return { kind: 'names', of: word }
  return fileValues.includes(word) ? { kind: 'file' } : { kind: 'any' }
}

/** A value as the shell scripts write it: `=a b`, `@vm`, `/` (a file), or nothing. */
export function valueMark(value: Value | undefined): string {
  switch (value?.kind) {
    case 'words':
      return `=${value.words.join(' ')}`
    case 'names':
      return `@${value.of}`
    case 'file':
      return '/'
    default:
      return '-'
  }
}
