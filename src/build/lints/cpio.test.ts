import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { type CpioFile, renderCpio } from '../../../test/support/cpio.ts';
import { readInitramfs } from './cpio.ts';

let scratch: string;

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'ingot-cpio-'));
});

afterAll(async () => {
  await rm(scratch, { recursive: true });
});

async function read(image: Buffer): Promise<{ path: string; contents: string | undefined }[]> {
  const path = join(scratch, 'image');
  await writeFile(path, image);
  const entries = [];
  for await (const entry of readInitramfs(path, (name) => name.endsWith('.conf'))) {
    entries.push({ path: entry.path, contents: entry.contents?.toString() });
  }
  return entries;
}

const MICROCODE = renderCpio([{ path: 'kernel/x86/microcode/GenuineIntel.bin', contents: 'x'.repeat(1001) }]);
const MAIN = renderCpio([
  { path: 'usr/big', contents: Buffer.alloc(3_000_000, 'lorem ipsum ') },
  { path: './usr/a.conf', contents: 'a = 1\n' },
]);
const EXPECTED = [
  { path: 'usr/big', contents: undefined },
  { path: 'usr/a.conf', contents: 'a = 1\n' },
];

describe('readInitramfs', () => {
  test.each([
    ['plain', MAIN],
    ['zstd', zstdCompressSync(MAIN)],
    ['zstd in two frames', Buffer.concat([MAIN.subarray(0, 999), MAIN.subarray(999)].map((part) => zstdCompressSync(part)))],
    ['gzip', gzipSync(MAIN)],
  ])('reads %s', async (_name, image) => {
    expect(await read(image)).toEqual(EXPECTED);
  });

  test('reads what follows early microcode and its padding', async () => {
    const image = Buffer.concat([MICROCODE, Buffer.alloc(512), zstdCompressSync(MAIN)]);
    expect((await read(image)).map(({ path }) => path)).toEqual([
      'kernel/x86/microcode/GenuineIntel.bin',
      'usr/big',
      'usr/a.conf',
    ]);
  });

  test.each([
    ['an unknown compression', Buffer.concat([MICROCODE, Buffer.from('BZh91AY&SY')])],
    ['a cut archive', MAIN.subarray(0, 1_000_000)],
    ['a cut header', MAIN.subarray(0, 50)],
    ['a damaged header', Buffer.from(MAIN.toString('latin1').replace(/^070701......../, '070701zzzzzzzz'), 'latin1')],
  ])('rejects %s', async (_name, image) => {
    await expect(read(image)).rejects.toThrow(SyntaxError);
  });

  test('rejects damaged compression', async () => {
    await expect(read(zstdCompressSync(MAIN).subarray(0, 80))).rejects.toThrow();
  });

  test('gives back any archive', async () => {
    const file = fc.record({
      path: fc.stringMatching(/^[a-z]{1,9}(?:\/[a-zé]{1,9}){0,3}\.conf$/),
      contents: fc.string({ maxLength: 300 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(file), async (files) => {
        expect(await read(zstdCompressSync(renderCpio(files satisfies CpioFile[])))).toEqual(files);
      }),
      { numRuns: 50 },
    );
  });
});
