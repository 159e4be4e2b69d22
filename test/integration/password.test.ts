/** The password of a key, asked for on a real terminal, by script(1). */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { ingotJson, PRODUCT_ROOT } from '../support/cli.ts';

const PASSWORD = 'correct hörse';
let scratch: string;
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'ingot-password-'));
  await writeFile(join(scratch, 'password'), `${PASSWORD}\n`);
  await ingotJson(['key', 'new', 'node', '--password-file', 'password'], { cwd: scratch });
});
afterAll(async () => {
  await rm(scratch, { recursive: true });
});

/** What appears; each answer is typed when its question does. The terminal's settings come last. */
async function onTerminal(
  command: string,
  answers: readonly (readonly [question: string, typed: string])[],
): Promise<string> {
  const line = `"$NODE" "$MAIN" ${command}; echo "exit $?"; stty -a`;
  const child = spawn('script', ['--quiet', '--command', line, '/dev/null'], {
    cwd: scratch,
    env: {
      ...{
        PATH: process.env['PATH'],
        HOME: scratch,
        SHELL: '/bin/sh',
        TERM: 'xterm',
        NODE: process.execPath,
      },
      MAIN: join(PRODUCT_ROOT, 'src/main.ts'),
    },
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  let seen = '';
  let waiting = answers;
  child.stdout.on('data', (bytes: Buffer) => {
    seen += bytes.toString();
    const [next] = waiting;
    if (next === undefined || !seen.includes(next[0])) return;
    waiting = waiting.slice(1);
    child.stdin.write(next[1]);
  });
  await once(child, 'close');
  return seen;
}

test('is not shown, and may be mended while it is typed', async () => {
  const seen = await onTerminal('key show node.key', [
    ['Password of node.key: ', `wrong\u0015corrext\u007F\u007Fct h\u00F6\u007F\u00F6rse\r`],
  ]);
  expect(seen).toContain('BEGIN PUBLIC KEY');
  expect(seen).toContain('exit 0');
  expect(seen).not.toMatch(/wrong|corre|rse/);
  expect(seen).toMatch(/ icanon/);
  expect(seen).toMatch(/ echo /);
});

test('that is wrong is told, and Ctrl-C leaves the terminal as it was', async () => {
  expect(await onTerminal('key show node.key', [['Password of', 'other\r']])).toMatch(/is wrong[^]*exit 2/);
  const seen = await onTerminal('key show node.key', [['Password of', 'half\u0003']]);
  expect(seen).toContain('exit 130');
  expect(seen).toMatch(/ icanon/);
  expect(seen).toMatch(/ echo /);
});

test('of a new key is asked for twice', async () => {
  const answers = [
    ['Password of the new key: ', 'one\r'],
    ['Once more: ', 'two\r'],
  ] as const;
  expect(await onTerminal('key new fresh', answers)).toMatch(/differ[^]*exit 2/);
  const same = [
    ['Password of the new key: ', 'one\r'],
    ['Once more: ', 'one\r'],
  ] as const;
  expect(await onTerminal('key new fresh', same)).toContain('exit 0');
});
