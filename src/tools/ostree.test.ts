import { expect, test } from 'vitest';

import { ostreeDeployArgv, parseOstreeFeatures, parseOstreeStatus } from './ostree.ts';

const A = '52ad1861519a95f880d04fdae56d7a27c0401fc091abc041c702478ed61b2ae0';
const B = 'dc82a01fbb90d7deda12c1f1d4ae9e88ab6ac1cd0c3ddf04ba7dcc7bba7aa9c1';

test('all kernel arguments of one name are kept', () => {
  const argv = ostreeDeployArgv({
    sysroot: '/s',
    stateroot: 'default',
    ref: 'image',
    kernelArguments: ['console=tty0', 'console=ttyS0'],
  });
  expect(argv).toContain('--karg-append=console=tty0');
  expect(argv).toContain('--karg-append=console=ttyS0');
  expect(argv.at(-1)).toBe('image');
});

test('the status of ostree 2025.2 is understood', () => {
  const status = [
    `  default ${B}.0 (staged)`,
    '    Version: 2',
    '    origin refspec: ingot/image/sha256-b',
    `* default ${A}.0`,
    '    Version: 1',
    '    Unlocked: development',
    '    origin refspec: ingot/image/sha256-a',
    `  default ${A}.1 (rollback)`,
    '    Pinned: yes',
    '',
  ].join('\n');
  expect(parseOstreeStatus(status)).toEqual([
    {
      booted: false,
      staged: true,
      pending: false,
      rollback: false,
      pinned: false,
      unlocked: false,
      stateroot: 'default',
      checksum: B,
      serial: 0,
      version: '2',
      origin: 'ingot/image/sha256-b',
    },
    {
      booted: true,
      staged: false,
      pending: false,
      rollback: false,
      pinned: false,
      unlocked: true,
      stateroot: 'default',
      checksum: A,
      serial: 0,
      version: '1',
      origin: 'ingot/image/sha256-a',
    },
    {
      booted: false,
      staged: false,
      pending: false,
      rollback: true,
      pinned: true,
      unlocked: false,
      stateroot: 'default',
      checksum: A,
      serial: 1,
    },
  ]);
  expect(parseOstreeStatus('')).toEqual([]);
});

test('what ostree was built with', () => {
  const text =
    "libostree:\n Version: '2026.4'\n Git: 4d3f\n Features:\n  - inode64\n  - composefs\n  - p2p\n";
  expect(parseOstreeFeatures(text)).toEqual(['inode64', 'composefs', 'p2p']);
});
