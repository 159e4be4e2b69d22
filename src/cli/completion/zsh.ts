/** Completion for zsh. */
import type { DescribedCommand, Words } from './describe.ts';

export function renderZshCompletion(commands: readonly DescribedCommand[]): string {
  const values = commands.flatMap((command) =>
    command.options.flatMap(({ flags, value }) => {
      if (value === undefined) return [];
      const patterns = flags.map((flag) => quote([...command.path, flag].join(' '))).join('|');
      return [`    ${patterns}) ${wordsAction(value)}; return ;;`];
    }),
  );
  const valued = commands.flatMap((command) =>
    command.options
      .filter((option) => option.value !== undefined)
      .flatMap((option) => option.flags.map((flag) => quote([...command.path, flag].join(' ')))),
  );
  const places = commands.map((command) => {
    const options = command.options.flatMap(({ flags, description }) =>
      flags.map((flag) => described(flag, description)),
    );
    const subcommands = command.commands.map(({ name, description }) => described(name, description));
    const rest =
      subcommands.length > 0
        ? `local -a commands=(${subcommands.join(' ')}); _describe command commands`
        : command.argument === undefined
          ? ':'
          : wordsAction(command.argument);
    return `    ${quote(command.path.join(' '))})
      if [[ $current == -* ]]; then local -a options=(${options.join(' ')}); _describe option options
      else ${rest}
      fi ;;`;
  });
  return `#compdef ingot
# zsh completion for ingot. Into a folder of $fpath: ingot completion zsh > _ingot
_ingot() {
  local current=\${words[CURRENT]} previous=\${words[CURRENT-1]} place=ingot
  local -i index
  for ((index = 2; index < CURRENT; index++)); do
    case "$place \${words[index]}" in
    ${[...new Set(valued)].join('|')}) ((index++)) ;;
    ${commands
      .slice(1)
      .map((command) => quote(command.path.join(' ')))
      .join('|')}) place="$place \${words[index]}" ;;
    esac
  done
  case "$place $previous" in
${[...new Set(values)].join('\n')}
  esac
  case $place in
${places.join('\n')}
  esac
}
# Autoloaded from $fpath it is the function's body; sourced, it registers itself.
if [[ \${funcstack[1]} == _ingot ]]; then _ingot "$@"; else compdef _ingot ingot; fi
`;
}

function wordsAction(words: Words): string {
  switch (words.kind) {
    case 'files':
      return '_files';
    case 'choices':
      return `compadd -- ${words.choices.map(quote).join(' ')}`;
    case 'unknown':
      return ':';
  }
}

function described(word: string, description: string): string {
  return quote(`${word.replaceAll(':', String.raw`\:`)}:${description}`);
}

function quote(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
