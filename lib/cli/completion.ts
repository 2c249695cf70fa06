/** Completion for shells, made of the same verbs and options as help. */
import type { Argument, Command, Option } from 'commander'
import { presets } from '../train/config/presets.js'

/** What can come behind the names of a verb. */
interface Completed {
  /** Names behind `lateforge`; none for the program. */
  path: string
  verbs: { name: string; about: string }[]
  options: { flags: string[]; about: string; takesValue: boolean; values: readonly string[] }[]
  /** Values of the first argument, where they are known. */
  values: readonly string[]
}

const namesOf = ({ parseArg }: Pick<Option | Argument, 'parseArg'>): readonly string[] =>
  (parseArg as { names?: readonly string[] } | undefined)?.names ?? []

function completed(program: Command): Completed[] {
  const found: Completed[] = []
  const visit = (command: Command, path: string): void => {
    const [first] = command.registeredArguments
    found.push({
      path,
      verbs: command.commands.map((verb) => ({ name: verb.name(), about: verb.description() })),
      options: [
        ...command.options.map((option) => ({
          flags: [option.short, option.long].filter((flag) => flag !== undefined) as string[],
          about: option.description,
          takesValue: option.required || option.optional,
          values: namesOf(option),
        })),
        { flags: ['--help'], about: 'say what it does, with an example', takesValue: false, values: [] },
      ],
      values:
        path === 'init'
          ? [...presets.keys()]
          : path === 'help'
            ? program.commands.map((verb) => verb.name())
            : first
              ? namesOf(first)
              : [],
    })
    for (const verb of command.commands) visit(verb, [path, verb.name()].filter(Boolean).join(' '))
  }
  visit(program, '')
  return found
}

/** A script for a shell. */
export function completion(program: Command, shell: string): string {
  const all = completed(program)
  return shell === 'fish' ? fish(all) : shell === 'zsh' ? zsh(all) : bash(all)
}

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`

/** The functions that bash and zsh share: which verb it is, and what may come next. */
function wordsOf(all: readonly Completed[]): string {
  const paths = all.filter(({ path }) => path).map(({ path }) => quoted(path))
  const cases = all.map(({ path, verbs, options, values }) => {
    const words = [...verbs.map(({ name }) => name), ...values]
    const flags = options.flatMap((option) => option.flags)
    return `    ${quoted(path)}) _lateforge_next=${quoted(words.join(' '))} _lateforge_options=${quoted(flags.join(' '))} ;;`
  })
  const valued = all.flatMap(({ path, options }) =>
    options
      .filter(({ takesValue }) => takesValue)
      .flatMap(({ flags, values }) =>
        flags.map((flag) => `    ${quoted(`${path} ${flag}`)}) _lateforge_next=${quoted(values.join(' '))} ;;`),
      ),
  )
  return `_lateforge_is_verb() {
  case "$1" in
    ${paths.join(' | ')}) return 0 ;;
  esac
  return 1
}
# What may come next, into _lateforge_next, options only where the word begins like one; 1 where it is a file, or not known.
_lateforge_words() {
  case "$1 $2" in
${valued.join('\n')}
    *)
      case "$1" in
${cases.map((line) => `    ${line}`).join('\n')}
      esac
      case "$3" in -*) _lateforge_next="$_lateforge_options" ;; esac ;;
  esac
  [ -n "$_lateforge_next" ]
}`
}

function bash(all: readonly Completed[]): string {
  return `# bash completion of lateforge: lateforge completion bash
${wordsOf(all)}
_lateforge() {
  local path='' _lateforge_next='' _lateforge_options='' cur="\${COMP_WORDS[COMP_CWORD]}" prev="\${COMP_WORDS[COMP_CWORD-1]}" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    _lateforge_is_verb "\${path:+$path }\${COMP_WORDS[i]}" && path="\${path:+$path }\${COMP_WORDS[i]}"
  done
  COMPREPLY=()
  _lateforge_words "$path" "$prev" "$cur" || return
  COMPREPLY=($(compgen -W "$_lateforge_next" -- "$cur"))
}
complete -o default -F _lateforge lateforge`
}

function zsh(all: readonly Completed[]): string {
  return `#compdef lateforge
# zsh completion of lateforge: lateforge completion zsh > a file _lateforge in a folder of $fpath
${wordsOf(all)}
_lateforge() {
  local _lateforge_path='' _lateforge_next='' _lateforge_options='' i
  for ((i = 2; i < CURRENT; i++)); do
    _lateforge_is_verb "\${_lateforge_path:+$_lateforge_path }\${words[i]}" &&
      _lateforge_path="\${_lateforge_path:+$_lateforge_path }\${words[i]}"
  done
  _lateforge_words "$_lateforge_path" "\${words[CURRENT-1]}" "\${words[CURRENT]}" && compadd -- \${=_lateforge_next} && return
  _files
}
if [[ "$funcstack[1]" == _lateforge ]]; then _lateforge; else compdef _lateforge lateforge; fi`
}

function fish(all: readonly Completed[]): string {
  const lines = all.flatMap(({ path, verbs, options, values }) => {
    const here = `complete -c lateforge -n ${quoted(`test "$(_lateforge_path)" = ${JSON.stringify(path)}`)}`
    return [
      ...verbs.map(({ name, about }) => `${here} -f -a ${quoted(name)} -d ${quoted(about)}`),
      ...values.map((value) => `${here} -a ${quoted(value)}`),
      ...options.map(({ flags, about, takesValue, values }) => {
        const names = flags.map((flag) => (flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`))
        const value = values.length > 0 ? ` -x -a ${quoted(values.join(' '))}` : takesValue ? ' -r' : ''
        return `${here} ${names.join(' ')}${value} -d ${quoted(about)}`
      }),
    ]
  })
  const paths = all.filter(({ path }) => path).map(({ path }) => quoted(path))
  return `# fish completion of lateforge: lateforge completion fish > ~/.config/fish/completions/lateforge.fish
function _lateforge_path
  set -l path
  for word in (commandline -opc)[2..]
    set -l longer (string trim "$path $word")
    contains -- $longer ${paths.join(' ')}; and set path $longer
  end
  echo $path
end
${lines.join('\n')}`
}
