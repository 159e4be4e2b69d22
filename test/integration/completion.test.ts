import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { run } from '../../src/proc/run.ts';

const ingot = resolve(import.meta.dirname, '../../bin/ingot');

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot-completion-'));
  await writeFile(join(folder, 'my node.yaml'), '');
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

async function script(shell: string): Promise<string> {
  const path = join(folder, `_${shell}`);
  await writeFile(path, `${(await run([ingot, 'completion', shell])).stdout}\n`);
  return path;
}

test('bash completes commands from the printed script', async () => {
  const { stdout } = await run([
    'bash',
    '-c',
    'source "$1"; COMP_WORDS=(ingot store ""); COMP_CWORD=2; _ingot; echo "${COMPREPLY[*]}"; complete -p ingot',
    'bash',
    await script('bash'),
  ]);
  expect(stdout).toBe('df gc verify\ncomplete -F _ingot ingot');
});

test('fish completes commands, options, choices and files from the printed script', async () => {
  const path = await script('fish');
  const offered = async (line: string): Promise<string[]> => {
    const { stdout } = await run(
      ['fish', '--no-config', '-c', 'source $argv[1]; complete -C $argv[2]', path, line],
      {
        cwd: folder,
        env: { HOME: folder },
      },
    );
    return stdout.split('\n').map((offer) => offer.replace(/\t.*/, ''));
  };
  expect(await offered('ingot comp')).toEqual(['completion']);
  expect((await offered('ingot store ')).toSorted()).toEqual(['df', 'gc', 'verify']);
  expect(await offered('ingot completion z')).toEqual(['zsh']);
  expect(await offered('ingot store gc --ke')).toEqual(['--keep', '--keep-days']);
  expect((await offered('ingot validate my')).join()).toContain('my node.yaml');
});

test('zsh completes commands, options, choices and files from the printed script', async () => {
  const path = await script('zsh');
  // The completion system runs only within the line editor; its functions are called with its variables instead,
  // and what they would offer is printed.
  const harness = `
    compdef() { registered=$*; }
    _describe() { local -a items; eval "items=(\\"\\\${$2[@]}\\")"; print -l -- "\${items[@]%%:*}"; }
    compadd() { shift; print -l -- "$@"; }
    _files() { print -l -- *; }
    source "$1"; shift
    words=("$@"); CURRENT=$#
    [[ $registered == "_ingot ingot" ]] && _ingot`;
  const offered = async (...words: string[]): Promise<string[]> => {
    const { stdout } = await run(['zsh', '-f', '-c', harness, 'zsh', path, 'ingot', ...words], {
      cwd: folder,
    });
    return stdout.split('\n');
  };
  expect(await offered('')).toContain('completion');
  expect(await offered('store', '')).toEqual(['df', 'gc', 'verify']);
  expect(await offered('completion', '')).toEqual(['bash', 'zsh', 'fish']);
  expect(await offered('store', 'gc', '--')).toContain('--keep');
  expect(await offered('--store', 'store', 'validate', '')).toContain('my node.yaml');
});
