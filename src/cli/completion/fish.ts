/** Completion for fish. */
import type { DescribedCommand, DescribedOption, Words } from './describe.ts';

export function renderFishCompletion(commands: readonly DescribedCommand[]): string {
  const lines = commands.flatMap((command) => {
    const when = condition(command);
    return [
      ...command.commands.map(({ name, description }) =>
        line(when, ['-f', '-a', quote(name), '-d', quote(description)]),
      ),
      ...(command.argument === undefined ? [] : [line(when, wordsFlags(command.argument))]),
      ...command.options.map((option) => line(when, optionFlags(option))),
    ];
  });
  return `# fish completion for ingot. In ~/.config/fish/completions: ingot completion fish > ingot.fish
complete -c ingot -f
${lines.join('\n')}
`;
}

/** Holds when the words so far lead to this command and not to one below it. */
function condition({ path, commands }: DescribedCommand): string {
  const names = commands.map(({ name }) => name).join(' ');
  return [
    ...path.slice(1).map((name) => `__fish_seen_subcommand_from ${name}`),
    ...(names === '' ? [] : [`not __fish_seen_subcommand_from ${names}`]),
  ].join('; and ');
}

function line(when: string, flags: readonly string[]): string {
  return ['complete', '-c', 'ingot', ...(when === '' ? [] : ['-n', quote(when)]), ...flags].join(' ');
}

function optionFlags({ flags, description, value }: DescribedOption): string[] {
  const names = flags.flatMap((flag) =>
    flag.startsWith('--') ? ['-l', flag.slice(2)] : ['-s', flag.slice(1)],
  );
  const takes = value === undefined ? [] : ['-r', ...wordsFlags(value)];
  return [...names, '-d', quote(description), ...takes];
}

function wordsFlags(words: Words): string[] {
  switch (words.kind) {
    case 'files':
      return ['-F'];
    case 'choices':
      return ['-f', '-a', quote(words.choices.join(' '))];
    case 'unknown':
      return ['-f'];
  }
}

function quote(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", String.raw`\'`)}'`;
}
