/** What holds for every real image: its packages are whole, and apt-get would have made the same. */
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import { expect } from 'vitest';

import { Store } from '../../src/store/store.ts';
import type { BuiltImage } from './built-image.ts';
import {
  compareRoots,
  EXPECTED,
  EXPECTED_WITH_PYTHON,
  unexplained,
  type ExpectedDifference,
} from './compare-roots.ts';
import { installInSequence } from './sequential-install.ts';
import { planOf, type UnpackedRoot } from './unpacked-root.ts';

/** What `dpkg --verify` says of any image; docs/sequential-install.md has the reasons. */
const VERIFY = [
  /^\?\?5\?{6}\s+\/usr\/lib\/os-release$/,
  /^missing\s+\/boot\/(?:System\.map|config|vmlinuz)-\S+$/,
  /^missing\s+\/var\/(?:backups|cache\/(?:apt\S*|debconf|ldconfig|man)|lib\/(?:apt\S*|dracut|initramfs-tools|pam|ucf)|log\/apt)$/,
];

export async function expectPackagesWhole(root: UnpackedRoot): Promise<void> {
  expect(await root.run(['dpkg', '--audit'])).toMatchObject({ exitCode: 0, stdout: '' });
  const { stdout } = await root.run(['dpkg', '--verify']);
  const lines = stdout.split('\n').filter((line) => line !== '');
  expect(lines.filter((line) => !VERIFY.some((known) => known.test(line)))).toEqual([]);
  expect(lines).toContainEqual(expect.stringMatching(/os-release$/)); // else nothing was verified
}

/**
 * Fails for every difference between the image and the same packages installed one layer after another that is not
 * among the documented ones.
 *
 * @param folder an empty one on the store's file system
 * @returns the documented differences that this image does not have
 */
export async function expectAsInSequence(
  image: BuiltImage,
  root: UnpackedRoot,
  folder: string,
): Promise<readonly ExpectedDifference[]> {
  const plan = await planOf(image);
  const store = await Store.open(image.store);
  await using _inUse = await store.use();
  const scratch = join(folder, 'sequence');
  await mkdir(scratch);
  await using sequence = await installInSequence(plan, store, scratch);
  const expected = existsSync(join(root.path, 'usr/bin/python3')) ? EXPECTED_WITH_PYTHON : EXPECTED;
  const { differences, idle } = unexplained(
    await compareRoots(root.path, sequence.path, plan.kernelRelease),
    expected,
  );
  expect(differences).toEqual([]);
  return idle;
}
