import { describe, expect, test } from 'vitest';

import type { ImageSummary } from './image-summary.ts';
import { rebootFor } from './reboot.ts';
import type { FileChange } from './stack-layers.ts';

const IMAGE: ImageSummary = {
  kind: 'image',
  shown: 'image',
  facts: {
    kernel: { release: '6.12.1', version: '6.12.1-1' },
    driver: { name: 'nvidia', version: '550.1', modules: 'open' },
  },
  kernelArguments: ['quiet'],
};
const changed = (path: string): FileChange => ({ path, change: 'changed' });

test('user space alone restarts softly, and nothing not at all', () => {
  expect(rebootFor(IMAGE, IMAGE, [changed('usr/bin/htop')], false)).toEqual({ kind: 'soft', reasons: [] });
  expect(rebootFor(IMAGE, IMAGE, [], true)).toEqual({ kind: 'none', reasons: [] });
});

describe('a full reboot is for what the running kernel holds', () => {
  const facts = (change: Partial<ImageSummary['facts']>): ImageSummary => ({
    ...IMAGE,
    facts: { ...IMAGE.facts, ...change },
  });
  test.each([
    ['kernel', facts({ kernel: { release: '6.12.2' } }), [], 'kernel 6.12.1 → 6.12.2'],
    [
      'same release',
      facts({ kernel: { release: '6.12.1', version: '6.12.1-2' } }),
      [],
      'kernel 6.12.1-1 → 6.12.1-2',
    ],
    [
      'driver',
      facts({ driver: { name: 'nvidia', version: '560.1', modules: 'open' } }),
      [],
      'driver nvidia 550.1 open → nvidia 560.1 open',
    ],
    ['arguments', { ...IMAGE, kernelArguments: ['quiet', 'debug'] }, [], 'kernel arguments change'],
    ['order of arguments', { ...IMAGE, kernelArguments: [] }, [], 'kernel arguments change'],
    ['initramfs', IMAGE, [changed('usr/lib/modules/6.12.1/initramfs.img')], 'the initramfs changes'],
    ['modules', IMAGE, [changed('usr/lib/modules/6.12.1/updates/nvidia.ko.xz')], 'kernel modules change'],
    [
      'other bits',
      IMAGE,
      [changed('usr/lib/modules/6.12.1/vmlinuz')],
      'the kernel is another one under the same name',
    ],
    [
      'modules to build',
      { ...IMAGE, modules: ['nvidia 2'] },
      [],
      'kernel modules are built from another source',
    ],
  ] as const)('%s', (_what, after, files, reason) => {
    expect(rebootFor(IMAGE, after, files, false)).toEqual({ kind: 'full', reasons: [reason] });
  });
});

test('locks tell what forces one, and else that they do not know', () => {
  const { kernelArguments: _told, ...lock } = { ...IMAGE, kind: 'lock' as const };
  expect(rebootFor(lock, lock, undefined, false)).toMatchObject({ kind: 'unknown' });
  const other = { ...lock, facts: { ...lock.facts, kernel: { release: '7' } } };
  expect(rebootFor(lock, other, undefined, false)).toMatchObject({ kind: 'full' });
});
