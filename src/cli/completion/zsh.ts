/** Completion for zsh. */
import { valueMark, type CompletionNode } from './model.ts'

export function zshScript(nodes: readonly CompletionNode[]): string {
  return `#compdef holdfast
# Completion of holdfast for zsh. See holdfast completion --help
_holdfast() {
  local path_='' word value='' taking=''
  local -i position=1 at
  local -a verbs options values
  _holdfast_node
  for ((at = 2; at < CURRENT; at++)); do
    word=\${words[at]}
    value=''
    if [[ $word == -* ]]; then
      if _holdfast_taking "$word"; then value=$taking; ((at++)); fi
    elif (( \${verbs[(I)\${(b)word}:*]} )); then
      path_=\${path_:+$path_/}$word
      position=1
      _holdfast_node
    else
      ((position++))
    fi
  done
  if [[ -n $value && $at -gt $CURRENT ]]; then _holdfast_offer "$value"; return; fi
  if [[ $PREFIX == -* ]]; then _describe -o option options; return; fi
  if (( \${#verbs} )); then _describe command verbs; return; fi
  _holdfast_offer "\${values[position]:--}"
}

_holdfast_offer() {
  local -a found
  case $1 in
    '='*) found=(\${(s: :)1#=}); compadd -a found ;;
    '/') _files ;;
    '@'*) found=("\${(@f)$(\${words[1]} __names \${1#@} 2>/dev/null)}"); compadd -a found ;;
  esac
}

_holdfast_node() {
  verbs=() options=() values=()
  case $path_ in
${nodes.map(nodeCase).join('\n')}
  esac
}

_holdfast_taking() {
  taking=''
  case "$path_ $1" in
${nodes.flatMap(takingCases).join('\n')}
  esac
  [[ -n $taking ]]
}

if [[ $funcstack[1] == _holdfast ]]; then _holdfast "$@"; else compdef _holdfast holdfast; fi
`
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}

/** `name:summary`, as _describe reads it. */
function described(name: string, summary: string): string {
  return quoted(`${name.replaceAll(':', '\\:')}:${summary}`)
}

function nodeCase(node: CompletionNode): string {
  const verbs = node.words.map((word) => described(word.name, word.summary)).join(' ')
  const options = node.options
    .flatMap((option) => option.flags.map((flag) => described(flag, option.summary)))
    .join(' ')
  const values = node.values.map((value) => quoted(valueMark(value))).join(' ')
  return `    (${quoted(node.path)}) verbs=(${verbs}) options=(${options}) values=(${values}) ;;`
}

function takingCases(node: CompletionNode): string[] {
  return node.options
    .filter((option) => option.value !== undefined)
    .map((option) => {
      const patterns = option.flags.map((flag) => quoted(`${node.path} ${flag}`)).join('|')
      return `    (${patterns}) taking=${quoted(valueMark(option.value))} ;;`
    })
}
