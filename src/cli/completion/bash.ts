/** Completion for bash. */
import { valueMark, type CompletionNode } from './model.ts'

/** Offers what a mark stands for: `=words`, `/` a file, `@kind` names that the manager is asked for. */
const offer = `_holdfast_offer() {
  local name
  COMPREPLY=()
  case $1 in
    =*) COMPREPLY=($(compgen -W "\${1#=}" -- "$2")) ;;
    /) compopt -o filenames 2>/dev/null; while IFS= read -r name; do COMPREPLY+=("$name"); done < <(compgen -f -- "$2") ;;
    @*)
      while IFS= read -r name; do
        [[ $name == "$2"* ]] && COMPREPLY+=("$(printf '%q' "$name")")
      done < <("\${COMP_WORDS[0]}" __names "\${1#@}" 2>/dev/null)
      ;;
  esac
}
`

export function bashScript(nodes: readonly CompletionNode[]): string {
  return `# Completion of holdfast for bash. See holdfast completion --help
_holdfast() {
  local current=\${COMP_WORDS[COMP_CWORD]} path='' position=0 at word value=''
  local words options values taking
  _holdfast_node
  for ((at = 1; at < COMP_CWORD; at++)); do
    word=\${COMP_WORDS[at]}
    value=''
    if [[ $word == -* ]]; then
      _holdfast_taking "$word" && value=$taking && ((at++))
    elif [[ " $words " == *" $word "* ]]; then
      path=\${path:+$path/}$word position=0
      _holdfast_node
    else
      ((position++))
    fi
  done
  # The word before is an option that waits for its value.
  if [[ -n $value && $at -gt $COMP_CWORD ]]; then _holdfast_offer "$value" "$current"; return; fi
  if [[ $current == -* ]]; then COMPREPLY=($(compgen -W "$options" -- "$current")); return; fi
  if [[ -n $words ]]; then COMPREPLY=($(compgen -W "$words" -- "$current")); return; fi
  _holdfast_offer "\${values[position]:--}" "$current"
}

${offer}
_holdfast_node() {
  words='' options='' values=()
  case $path in
${nodes.map(nodeCase).join('\n')}
  esac
}

_holdfast_taking() {
  taking=''
  case "$path $1" in
${nodes.flatMap(takingCases).join('\n')}
  esac
  [[ -n $taking ]]
}

complete -F _holdfast holdfast
`
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}

function nodeCase(node: CompletionNode): string {
  const words = node.words.map((word) => word.name).join(' ')
  const options = node.options.flatMap((option) => option.flags).join(' ')
  const values = node.values.map((value) => quoted(valueMark(value))).join(' ')
  return `    ${quoted(node.path)}) words=${quoted(words)} options=${quoted(options)} values=(${values}) ;;`
}

function takingCases(node: CompletionNode): string[] {
  return node.options
    .filter((option) => option.value !== undefined)
    .map((option) => {
      const patterns = option.flags.map((flag) => quoted(`${node.path} ${flag}`)).join(' | ')
      return `    ${patterns}) taking=${quoted(valueMark(option.value))} ;;`
    })
}
