/** Completion for fish. */
import type { CompletionNode, CompletionOption, Value } from './model.ts'

export function fishScript(nodes: readonly CompletionNode[]): string {
  const known = nodes.filter((node) => node.path !== '').map((node) => node.path)
  const taking = [
    ...new Set(
      nodes.flatMap((node) =>
        node.options.filter((option) => option.value !== undefined).flatMap((option) => option.flags),
      ),
    ),
  ]
  return `# Completion of holdfast for fish. See holdfast completion --help
function __holdfast_place
    set -l known ${known.join(' ')}
    set -l taking ${taking.join(' ')}
    set -l place ''
    set -l position 0
    set -l skip 0
    for word in (commandline -opc)[2..]
        if test $skip = 1
            set skip 0
        else if string match -q -- '-*' $word
            contains -- $word $taking; and set skip 1
        else if contains -- (string trim -l -c / -- "$place/$word") $known
            set place (string trim -l -c / -- "$place/$word")
            set position 0
        else
            set position (math $position + 1)
        end
    end
    echo "$place $position"
end

function __holdfast_at
    set -l place (string split ' ' -- (__holdfast_place))
    test "$place[1]" = "$argv[1]"; and begin
        test (count $argv) = 1; or test "$place[2]" = "$argv[2]"
    end
end

complete -c holdfast -f
${nodes.flatMap(linesOf).join('\n')}
`
}

function quoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
}

function linesOf(node: CompletionNode): string[] {
  const at = `complete -c holdfast -n "__holdfast_at ${quoted(node.path)}`
  return [
    ...node.words.map((word) => `${at} 0" -a ${word.name} -d ${quoted(word.summary)}`),
    ...node.options.map((option) => `${at}"${optionText(option)}`),
    ...node.values.flatMap((value, position) => {
      const offered = offeredText(value)
      return offered === undefined ? [] : [`${at} ${position}" ${offered}`]
    }),
  ]
}

function optionText(option: CompletionOption): string {
  const flags = option.flags.map((flag) => (flag.startsWith('--') ? ` -l ${flag.slice(2)}` : ` -s ${flag.slice(1)}`))
  const value = option.value === undefined ? '' : ` ${offeredText(option.value, '-r') ?? '-x'}`
  return `${flags.join('')}${value} -d ${quoted(option.summary)}`
}

function offeredText(value: Value, needed = ''): string | undefined {
  switch (value.kind) {
    case 'words':
      return `${needed === '' ? '' : '-x '}-a ${quoted(value.words.join(' '))}`
    case 'names':
      return `${needed === '' ? '' : '-x '}-a '(holdfast __names ${value.of} 2>/dev/null)'`
    case 'file':
      return needed === '' ? '-F' : '-r -F'
    case 'any':
      return undefined
  }
}
