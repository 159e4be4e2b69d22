import { expect, test } from 'vitest';

import { parseLdd } from './ldd.ts';

// As ldd of Debian 13 printed it for sfdisk.
const SFDISK = `\tlinux-vdso.so.1 (0x00007fd159258000)
\tlibfdisk.so.1 => /lib/x86_64-linux-gnu/libfdisk.so.1 (0x00007fd1591a2000)
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007fd158ecf000)
\t/lib64/ld-linux-x86-64.so.2 (0x00007fd15925a000)
`;

test('libraries and the loader are told apart, and the kernel’s own is left out', () => {
  expect(parseLdd(SFDISK)).toEqual({
    libraries: ['/lib/x86_64-linux-gnu/libfdisk.so.1', '/lib/x86_64-linux-gnu/libc.so.6'],
    loader: '/lib64/ld-linux-x86-64.so.2',
  });
});

test('a library that is not there is an error', () => {
  for (const output of ['\tlibgone.so.1 => not found\n', '\tstatically linked\n']) {
    expect(() => parseLdd(output)).toThrow(expect.objectContaining({ code: 'TOOL_FAILED' }));
  }
});
