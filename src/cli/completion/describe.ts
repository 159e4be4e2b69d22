/** What can follow what on the command line, read off the commander tree. */
import type { Argument, Command, Option } from 'commander';

/** What an option's value or an argument may be. */
export type Words =
  | { readonly kind: 'files' }
  | { readonly kind: 'choices'; readonly choices: readonly string[] }
  | { readonly kind: 'unknown' };

export interface DescribedOption {
  /** Such as `-o` and `--output`. */
  readonly flags: readonly string[];
  readonly description: string;
  /** Absent for an option without a value. */
  readonly value?: Words;
}

export interface DescribedCommand {
  /** From the program on: `['ingot', 'store', 'gc']`. */
  readonly path: readonly string[];
  readonly description: string;
  readonly commands: readonly { readonly name: string; readonly description: string }[];
  /** With the options of every command above it, which are accepted here too. */
  readonly options: readonly DescribedOption[];
  readonly argument?: Words;
}

/** A command and all below it, each above its own. */
export function describeCommands(
  command: Command,
  above: Pick<DescribedCommand, 'path' | 'options'> = { path: [], options: [] },
): DescribedCommand[] {
  const path = [...above.path, command.name()];
  const options = [
    ...command.options.filter(({ hidden }) => !hidden).map(describeOption),
    ...above.options,
    ...(above.path.length === 0 ? [{ flags: ['-h', '--help'], description: 'show help' }] : []),
  ];
  const argument = command.registeredArguments[0];
  return [
    {
      path,
      options,
      description: command.description(),
      commands: command.commands.map((child) => ({ name: child.name(), description: child.description() })),
      ...(argument !== undefined && { argument: describeArgument(argument) }),
    },
    ...command.commands.flatMap((child) => describeCommands(child, { path, options })),
  ];
}

function describeOption(option: Option): DescribedOption {
  const flags = [option.short, option.long].filter((flag) => flag !== undefined);
  const { description } = option;
  // An optional value may as well be the next word of the command.
  if (!option.required) return { flags, description };
  if (option.argChoices !== undefined) {
    return { flags, description, value: { kind: 'choices', choices: option.argChoices } };
  }
  const placeholder = /<([^>]*)>/.exec(option.flags)?.[1] ?? '';
  const isPath = /\b(?:dir|directory|folder|file|path)\b|\.\w/.test(placeholder);
  return { flags, description, value: { kind: isPath ? 'files' : 'unknown' } };
}

function describeArgument(argument: Argument): Words {
  return argument.argChoices === undefined
    ? { kind: 'files' }
    : { kind: 'choices', choices: argument.argChoices };
}
