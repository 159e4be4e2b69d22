/** What a person sees while the real program works: on a terminal, by script(1), and off one. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { loadLock } from '../../src/cli/load-lock.ts';
import type { LockedPackage } from '../../src/packages/package.ts';
import { builtImage, type BuiltImage } from '../support/built-image.ts';
import { ingot, PRODUCT_ROOT } from '../support/cli.ts';
import { MirrorServer } from '../support/mirror.ts';
import { moveToArchive, packageOf, storeWithPackages } from '../support/thin-store.ts';

const COLUMNS = 100;
const ESCAPE = '\u001B';
/** Colours and weights. */
const STYLE = new RegExp(`${ESCAPE}\\[[0-9;]*m`);

let image: BuiltImage;
let folder: string;
let archive: string;
let less: LockedPackage;

beforeAll(async () => {
  image = await builtImage();
  less = packageOf(await loadLock(image.declaration.replace('.yaml', '.lock.yaml')), 'less');
  mkdirSync(join(image.store, '../scratch'), { recursive: true });
  folder = mkdtempSync(join(image.store, '../scratch/terminal-'));
  archive = join(folder, 'archive');
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** All that appears on a terminal until the package is fetched and Ctrl-C was pressed. */
async function onTerminal(name: string, env: Readonly<Record<string, string>>): Promise<string> {
  const store = storeWithPackages(image, join(folder, name));
  moveToArchive(store, less, archive);
  await using server = await MirrorServer.start(archive);
  server.misbehave(/less/, { kind: 'slow', pauseMs: 150, pieces: 8 });
  const command = `stty cols ${COLUMNS} rows 30; exec "$NODE" src/main.ts build "$FILE" --output "$OUTPUT"`;
  const child = spawn('script', ['--quiet', '--return', '--command', command, '/dev/null'], {
    cwd: PRODUCT_ROOT,
    env: {
      PATH: process.env['PATH'],
      HOME: process.env['HOME'],
      SHELL: '/bin/sh',
      TERM: 'xterm-256color',
      LC_ALL: 'C.UTF-8',
      NODE: process.execPath,
      FILE: image.declaration,
      OUTPUT: join(folder, 'layout'),
      INGOT_STORE: store,
      INGOT_MIRROR: server.url,
      ...env,
    },
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  let seen = '';
  let pressed = false;
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    seen += chunk;
    if (pressed || !/✔\S* Fetch packages/.test(seen)) return;
    pressed = true;
    child.stdin.write('\u0003');
  });
  await once(child, 'close');
  rmSync(store, { recursive: true });
  expect(child.exitCode, seen).toBe(130);
  return seen;
}

test('a terminal shows running stages in place, and one line of each that ended', async () => {
  const seen = await onTerminal('coloured', {});
  expect(seen).toContain(`${ESCAPE}[32m✔${ESCAPE}[39m Fetch packages`);
  expect(seen).toMatch(STYLE);
  // Frames of the running stage: a spinner, and a bar that grows, drawn over one another.
  const frames = seen
    .split(`${ESCAPE}[?7l`)
    .slice(1)
    .map((frame) => frame.split(`${ESCAPE}[?7h`)[0] ?? '');
  const fetching = frames.filter((frame) => /[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏].*Fetch packages/.test(frame));
  const filled = fetching.map((frame) => frame.match(/━/g)?.length ?? 0);
  expect(new Set(filled).size).toBeGreaterThan(2);
  expect(filled).toEqual(filled.toSorted((one, other) => one - other));
  expect(seen).toContain(`\r${ESCAPE}[J`);
  const widths = frames.flatMap((frame) => frame.split('\n').map((line) => plain(line).length));
  expect(Math.max(...widths)).toBeLessThan(COLUMNS);
});

test('NO_COLOR leaves the terminal its progress, and no colour', async () => {
  const seen = await onTerminal('plain', { NO_COLOR: '1' });
  expect(seen).toMatch(/✔ Fetch packages {2}\d/);
  expect(seen).not.toMatch(STYLE);
});

test('off a terminal there are lines, and no escape code whatever TERM says', async () => {
  const build = ['--store', image.store, 'build', image.declaration, '--output', image.layout];
  const { exitCode, stdout, stderr } = await ingot(build, { env: { TERM: 'xterm-256color', NO_COLOR: '' } });
  expect(exitCode, stderr).toBe(0);
  expect(stderr).toMatch(/^Build seal: cached, /m);
  expect(stderr + stdout).not.toContain(ESCAPE);
  expect(stderr + stdout).not.toContain('\r');
});

function plain(text: string): string {
  return text.replaceAll(new RegExp(STYLE, 'g'), '').replaceAll('\r', '');
}
