/** `ingot build --verify`: an image that comes out the same, and one whose package writes the time. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { type BuildVerification, renderVerification } from '../../src/cli/verify-build.ts';
import { builtImage, type BuiltImage } from '../support/built-image.ts';
import { leftBehind } from '../support/leftovers.ts';
import { localProject } from '../support/local-project.ts';

let image: BuiltImage;
let folder: string;

beforeAll(async () => {
  image = await builtImage();
  mkdirSync(join(image.store, '../scratch'), { recursive: true });
  folder = mkdtempSync(join(image.store, '../scratch/again-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

test('an image of sound packages is the same again, and the second store is gone', async () => {
  const project = await localProject(image, join(folder, 'sound'), {
    sound: {
      packages: [
        { name: 'sound', files: { 'usr/share/sound/a': 'a' }, scripts: { postinst: 'echo b >/etc/sound' } },
      ],
    },
  });
  const { exitCode, stdout, stderr } = await project.build(['--verify', '--json']);
  expect(exitCode, stderr).toBe(0);
  const { digest, verification } = JSON.parse(stdout) as { digest: string; verification: BuildVerification };
  expect(verification).toMatchObject({ reproducible: true, digest, differences: [], differing: 0 });
  expect(leftBehind(image.store, 'verify')).toEqual([]);
});

test('what differs is named: the layer, the path, the byte, and both values', async () => {
  const project = await localProject(image, join(folder, 'clock'), {
    clock: {
      packages: [
        {
          name: 'clock',
          // Before the seal and in it: a script of each kind sees another time.
          scripts: {
            preinst: 'mkdir -p /usr/share/clock; date +built-at-%s%N >/usr/share/clock/unpacked',
            postinst: 'date +built-at-%s%N >/etc/clock',
          },
        },
      ],
    },
  });
  const { exitCode, stdout, stderr } = await project.build(['--verify', '--json']);
  expect(exitCode, stdout + stderr).toBe(1);
  const { digest, verification } = JSON.parse(stdout) as { digest: string; verification: BuildVerification };
  expect(verification, stdout).toMatchObject({ reproducible: false });
  expect(verification.digest).not.toBe(digest);
  const contents = verification.differences.filter(({ what }) => what === 'content');
  expect(contents.map(({ layer, path }) => `${layer} ${path}`)).toEqual([
    'addon-clock usr/share/clock/unpacked',
    'seal etc/clock',
  ]);
  for (const { offset = 0, left, right } of contents) {
    expect(offset).toBeGreaterThanOrEqual('built-at-'.length);
    expect(left).toMatch(/^0x3\d in "/);
    expect(left).not.toBe(right);
  }

  const text = renderVerification(verification);
  expect(text).toContain('built again from nothing: another digest, sha256:');
  expect(text).toMatch(/^ {2}addon-clock \(.*\): \/usr\/share\/clock\/unpacked: content from byte \d+$/m);
  expect(text).toMatch(/^ {4}first: {2}0x3\d in "/m);
});
