/** A real image with a runtime beside what apt-get makes of the same packages. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { builtImage, type BuiltImage } from '../support/built-image.ts';
import { PRODUCT_ROOT } from '../support/cli.ts';
import { compareRoots, EXPECTED_WITH_PYTHON, unexplained } from '../support/compare-roots.ts';
import { expectAsInSequence, expectPackagesWhole } from '../support/sound-image.ts';
import { unpackedRoot, type UnpackedRoot } from '../support/unpacked-root.ts';

let folder: string;
let image: BuiltImage;
let root: UnpackedRoot;

beforeAll(async () => {
  image = await builtImage('debian-cpu-llama');
  mkdirSync(join(image.store, '../scratch'), { recursive: true });
  folder = mkdtempSync(join(image.store, '../scratch/sequence-'));
  root = await unpackedRoot(image, join(folder, 'image'));
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

test('its packages are whole, and its runtime starts', async () => {
  await expectPackagesWhole(root);
  const { exitCode, stderr } = await root.run(['llama-cli', '--version']);
  expect(exitCode).toBe(0);
  expect(stderr).toContain('version: 0.7.0');
});

test('its files are those of a sequential install, but for what is documented', async () => {
  expect(await expectAsInSequence(image, root, folder)).toEqual([]);
});

test('what differs is found: contents, modes, owners, and files that one side lacks', async () => {
  const [left, right] = ['left', 'right'].map((name) => join(folder, name)) as [string, string];
  for (const [tree, changed] of [
    [left, false],
    [right, true],
  ] as const) {
    mkdirSync(join(tree, 'etc'), { recursive: true });
    // The same accounts in another order, with other numbers.
    const accounts = changed ? 'b:x:901:\na:x:900:\n' : 'a:x:500:\nb:x:501:\n';
    writeFileSync(join(tree, 'etc/group'), accounts);
    writeFileSync(join(tree, 'etc/content'), changed ? 'two' : 'one');
    writeFileSync(join(tree, 'etc/mode'), '', { mode: changed ? 0o600 : 0o644 });
    writeFileSync(join(tree, changed ? 'etc/theirs' : 'etc/ours'), '');
    writeFileSync(join(tree, 'etc/hostname'), 'same');
    mkdirSync(join(tree, 'boot'));
    if (changed) writeFileSync(join(tree, 'boot/vmlinuz-1'), 'kernel');
    mkdirSync(join(tree, 'usr/lib/modules/1'), { recursive: true });
    if (!changed) writeFileSync(join(tree, 'usr/lib/modules/1/vmlinuz'), 'kernel');
  }
  const { differences } = unexplained(await compareRoots(left, right, '1'));
  expect(differences.map(({ path, what }) => `${path} ${what}`)).toEqual([
    'etc/content differs',
    'etc/mode differs',
    'etc/ours in the image alone',
    'etc/theirs by apt-get alone',
  ]);
});

test('every difference that may be is documented', () => {
  const text = readFileSync(join(PRODUCT_ROOT, 'docs/sequential-install.md'), 'utf8');
  for (const { why } of EXPECTED_WITH_PYTHON) expect(text).toContain(why);
});
