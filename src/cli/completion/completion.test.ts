import { Argument, Command, Option } from 'commander';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { run } from '../../proc/run.ts';
import { renderBashCompletion } from './bash.ts';
import { describeCommands } from './describe.ts';
import { renderFishCompletion } from './fish.ts';
import { renderZshCompletion } from './zsh.ts';

const program = new Command('ingot')
  .option('--json', 'print the result as JSON')
  .option('--store <dir>', 'local cache')
  .option('--progress-fd <n>', 'descriptor')
  .addCommand(
    new Command('disk')
      .description(`install an image, don't boot it`)
      .argument('<image>')
      .option('-o, --output <node.raw>', 'where to')
      .addOption(new Option('--format <format>', 'of the disk').choices(['raw', 'qcow2'])),
  )
  .addCommand(
    new Command('store')
      .description('the cache')
      .addCommand(new Command('df').description('show'))
      .addCommand(new Command('gc').description('collect').option('--update [name...]', 'optional value')),
  )
  .addCommand(
    new Command('completion').addArgument(new Argument('<shell>').choices(['bash', 'zsh', 'fish'])),
  );
const commands = describeCommands(program);

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot-completion-'));
  await writeFile(join(folder, 'my node.yaml'), '');
  await writeFile(join(folder, 'other.yaml'), '');
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

/** What a real bash offers for the last of some words. */
async function offered(...words: string[]): Promise<string[]> {
  const { stdout } = await run(
    [
      'bash',
      '-c',
      `eval "$1"; shift
       COMP_WORDS=(ingot "$@"); COMP_CWORD=$#
       _ingot 2>/dev/null
       printf '%s\\n' "\${COMPREPLY[@]}"`,
      'bash',
      renderBashCompletion(commands),
      ...words,
    ],
    { cwd: folder },
  );
  return stdout.split('\n').filter((line) => line !== '');
}

describe('bash', () => {
  test('offers commands, and commands below them', async () => {
    expect(await offered('')).toEqual(['disk', 'store', 'completion']);
    expect(await offered('st')).toEqual(['store']);
    expect(await offered('store', '')).toEqual(['df', 'gc']);
  });

  test('offers the options of a command and those of every command', async () => {
    expect(await offered('disk', '--')).toEqual([
      '--output',
      '--format',
      '--json',
      '--store',
      '--progress-fd',
      '--help',
    ]);
  });

  test('offers files for arguments and paths, with spaces in their names', async () => {
    expect((await offered('disk', '')).toSorted()).toEqual(['my node.yaml', 'other.yaml']);
    expect(await offered('disk', '-o', 'my')).toEqual(['my node.yaml']);
    expect(await offered('--store', 'oth')).toEqual(['other.yaml']);
  });

  test('offers choices for options and arguments, and nothing for other values', async () => {
    expect(await offered('disk', 'x', '--format', '')).toEqual(['raw', 'qcow2']);
    expect(await offered('completion', 'b')).toEqual(['bash']);
    expect(await offered('--progress-fd', '')).toEqual([]);
  });

  test('takes an option value for no command', async () => {
    expect(await offered('--store', 'disk', '')).toEqual(['disk', 'store', 'completion']);
    expect(await offered('--json', 'store', 'd')).toEqual(['df']);
  });

  test('does not take the word after an optional value for that value', async () => {
    expect(await offered('store', 'gc', '--update', '--')).toContain('--json');
  });
});

test('zsh and fish name every command, option and choice, and quote descriptions', () => {
  const zsh = renderZshCompletion(commands);
  const fish = renderFishCompletion(commands);
  for (const script of [zsh, fish]) {
    for (const word of ['disk', 'gc', 'format', 'qcow2', 'completion']) expect(script).toContain(word);
  }
  expect(zsh).toContain(String.raw`don'\''t`);
  expect(fish).toContain(String.raw`don\'t`);
});
