import { expect, test } from 'vitest';

import { FindingsError } from '../errors.ts';
import type { LockedPackage } from '../packages/package.ts';
import { downloadersIn, refuseDownloaders } from './downloads.ts';
import type { Lock } from './lock.ts';

const PACKAGE: LockedPackage = {
  name: 'nvidia-cudnn',
  version: '9.0.0.312~cuda12',
  architecture: 'amd64',
  sha256: '0'.repeat(64),
  size: 19624,
  filename: 'pool/contrib/n/nvidia-cudnn/nvidia-cudnn_9.0.0.312~cuda12_amd64.deb',
  archive: 'debian',
};
const DEBIAN = { name: 'debian', suites: ['trixie'], components: ['main', 'contrib'] };
const OURS = { name: 'ours', suites: ['./'], components: [], url: 'https://packages.example.com/debian' };

function lockWith(archive: string): Lock {
  const packages = [
    { ...PACKAGE, name: 'libcudart12' },
    { ...PACKAGE, archive },
  ];
  const layers = [{ name: 'runtime-pytorch-cuda', kind: 'runtime', packages }];
  return { layers, archives: [DEBIAN, OURS] } as unknown as Lock;
}

const place = { file: 'images/torch.yaml', line: 12, column: 11 };
const spec = { sources: { at: (path: unknown) => ({ ...place, path }), keyAt: () => place } };

test('a package that downloads when it is configured is refused at the key that brings it', () => {
  let thrown: unknown;
  try {
    refuseDownloaders(lockWith('debian'), spec);
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(FindingsError);
  expect((thrown as FindingsError).findings).toEqual([
    {
      code: 'PACKAGE_DOWNLOADS',
      severity: 'error',
      message: expect.stringMatching(
        /^runtime-pytorch-cuda: nvidia-cudnn 9\.0\.0\.312~cuda12 downloads cuDNN from NVIDIA while it is configured/,
      ) as string,
      location: { ...place, path: ['runtimes'] },
    },
  ]);
});

test('one from a repository of one’s own holds it', () => {
  expect(downloadersIn(lockWith('ours'))).toEqual([]);
  expect(() => {
    refuseDownloaders(lockWith('ours'), spec);
  }).not.toThrow();
});
