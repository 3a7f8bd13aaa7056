/**
 * Sentences of scenario files: each form is some words, of which those in capitals stand for something (`crash HOSTS`).
 * Reading one checks every such word, so that a host or a VM that is not there is refused before anything is played.
 */
import { alarmTypes, type Names } from './words.ts'

/** What a word in capitals takes, and how that is said. */
const takes = {
  HOST: { is: (word: string, names: Names) => names.hosts.includes(word), words: 'a host' },
  HOSTS: {
    is: (word: string, names: Names) => word === 'all' || word.split(',').every((each) => names.hosts.includes(each)),
    words: 'hosts with commas between them, or all',
  },
  SOME: {
    is: (word: string, names: Names) => word === '*' || word.split('|').every((each) => names.hosts.includes(each)),
    words: 'a host, several with | between them, or *',
  },
  END: {
    is: (word: string, names: Names) =>
      ['manager', 'everybody', 'hosts'].includes(word) || word.split(',').every((each) => names.hosts.includes(each)),
    words: 'manager, hosts, everybody, or hosts with commas between them',
  },
  VM: { is: (word: string, names: Names) => names.vms.includes(word), words: 'a VM' },
  VMS: {
    is: (word: string, names: Names) => word.split(',').every((each) => names.vms.includes(each)),
    words: 'VMs with commas between them',
  },
  NEW: { is: (word: string) => /^[a-z][a-z0-9-]*$/.test(word), words: 'a new name' },
  STORE: { is: (word: string, names: Names) => names.datastores.includes(word), words: 'a datastore' },
  RULE: { is: (word: string, names: Names) => names.rules.includes(word), words: 'a rule' },
  ALARM: { is: (word: string) => alarmTypes.includes(word), words: `one of ${alarmTypes.join(', ')}` },
  SUBJECT: {
    is: (word: string, { hosts, vms, datastores }: Names) => [...hosts, ...vms, ...datastores].includes(word),
    words: 'a host, a VM or a datastore',
  },
  NUMBER: { is: (word: string) => /^[0-9]+(\.\.[0-9]+)?$/.test(word), words: 'a number, or two with .. between them' },
  SHARE: { is: (word: string) => /^0?\.[0-9]+$/.test(word), words: 'a share below one' },
  SPAN: { is: (word: string) => /^[+-]?[0-9.]+(ms|s|min|h)$/.test(word), words: 'a time such as 12s or -1h' },
} as const

export interface Form<Act> {
  /** `cut END <-> END`; `(a|b)` is one of these words; `…` takes the rest of the line. */
  readonly form: string
  readonly act: Act
}

export interface Read<F> {
  readonly form: F
  /** What stood where the form has capitals or a choice. */
  readonly args: readonly string[]
}

/** What the sentence means, or what is wrong with it in words. */
export function readSentence<F extends Form<unknown>>(
  text: string,
  forms: readonly F[],
  names: Names,
): Read<F> | { readonly wrong: string } {
  const words = text.split(' ')
  let wrong = ''
  for (const form of forms) {
    const read = readAs(words, form.form.split(' '), names)
    if (Array.isArray(read)) return { form, args: read }
    if (typeof read === 'string') wrong = read
  }
  if (wrong !== '') return { wrong }
  const likely = forms.filter(({ form }) => form.split(' ')[0] === words[0])
  const known = (likely.length > 0 ? likely : forms).map(({ form }) => form)
  return { wrong: `“${text}” is none of: ${known.join('; ')}` }
}

/** The arguments; words about one that is wrong; undefined when it is another sentence. */
function readAs(words: readonly string[], form: readonly string[], names: Names): string[] | string | undefined {
  const hasRest = form.at(-1) === '…'
  if (hasRest ? words.length < form.length : words.length !== form.length) return undefined
  const args: string[] = []
  let wrong: string | undefined
  for (const [at, part] of form.entries()) {
    const word = words[at] ?? ''
    if (part === '…') args.push(words.slice(at).join(' '))
    else if (part.startsWith('(')) {
      if (!part.slice(1, -1).split('|').includes(word)) return undefined
      args.push(word)
    } else if (part in takes) {
      const { is, words: what } = takes[part as keyof typeof takes]
      if (!is(word, names)) wrong ??= `“${word}” is not ${what}${known(part, names)}`
      args.push(word)
    } else if (part !== word) return undefined
  }
  return wrong ?? args
}

function known(part: string, { hosts, vms, datastores, rules }: Names): string {
  const lists: Partial<Record<string, readonly string[]>> = {
    ...{ HOST: hosts, HOSTS: hosts, SOME: hosts, END: hosts, VM: vms, VMS: vms, STORE: datastores, RULE: rules },
  }
  const list = lists[part]
  return list === undefined ? '' : ` (there are: ${list.join(', ')})`
}
