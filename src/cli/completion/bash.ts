/** Completion for bash 4 and later. */
import type { DescribedCommand } from './describe.ts';

export function renderBashCompletion(commands: readonly DescribedCommand[]): string {
  const valued = (command: DescribedCommand): string[] =>
    command.options
      .filter((option) => option.value !== undefined)
      .flatMap((option) => option.flags.map((flag) => pattern([...command.path, flag])));
  const steps = commands.slice(1).map((command) => pattern(command.path));
  const values = commands.flatMap((command) =>
    command.options.flatMap(({ flags, value }) => {
      if (value === undefined) return [];
      const patterns = flags.map((flag) => pattern([...command.path, flag])).join('|');
      const action =
        value.kind === 'choices'
          ? `_ingot_words '${value.choices.join(' ')}'`
          : value.kind === 'files'
            ? '_ingot_files'
            : 'COMPREPLY=()';
      return [`    ${patterns}) ${action}; return ;;`];
    }),
  );
  const places = commands.map((command) => {
    const options = command.options.flatMap((option) => option.flags);
    const { argument } = command;
    const words = [
      ...command.commands.map(({ name }) => name),
      ...(argument?.kind === 'choices' ? argument.choices : []),
    ];
    return `    ${pattern(command.path)}) options='${options.join(' ')}' words='${words.join(' ')}' files=${
      argument?.kind === 'files' ? 1 : 0
    } ;;`;
  });
  return `# bash completion for ingot. In ~/.bashrc: source <(ingot completion bash)
_ingot_words() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "$current"); }
_ingot_files() {
  compopt -o filenames 2>/dev/null
  mapfile -t COMPREPLY < <(compgen -f -- "$current")
}
_ingot() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]}
  local place=ingot options='' words='' files=0 index
  for ((index = 1; index < COMP_CWORD; index++)); do
    case "$place \${COMP_WORDS[index]}" in
    ${unique(commands.flatMap(valued)).join('|')}) ((index++)) ;;
    ${steps.join('|')}) place="$place \${COMP_WORDS[index]}" ;;
    esac
  done
  case "$place $previous" in
${unique(values).join('\n')}
  esac
  case "$place" in
${places.join('\n')}
  esac
  if [[ $current == -* ]]; then
    _ingot_words "$options"
  elif ((files)); then
    _ingot_files
  else
    _ingot_words "$words"
  fi
}
complete -F _ingot ingot
`;
}

function pattern(words: readonly string[]): string {
  return `'${words.join(' ')}'`;
}

function unique(items: readonly string[]): string[] {
  return [...new Set(items)];
}
