import { Readable } from 'node:stream';
import { constants, zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { run } from '../proc/run.ts';
import { decompressZstd } from './zstd-frames.ts';

async function decompress(data: Buffer, chunk = 65_536): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for (let at = 0; at < data.length; at += chunk) chunks.push(data.subarray(at, at + chunk));
  const plain: Buffer[] = [];
  for await (const part of decompressZstd(Readable.from(chunks))) plain.push(part);
  return Buffer.concat(plain);
}

const skippable = (bytes: Buffer): Buffer => {
  const header = Buffer.alloc(8);
  header.writeUInt32LE(0x184d2a53, 0);
  header.writeUInt32LE(bytes.length, 4);
  return Buffer.concat([header, bytes]);
};

describe('decompressZstd', () => {
  test('gives back the contents of any frames, however the data is cut', async () => {
    const frame = fc.record({
      contents: fc.uint8Array({ maxLength: 400 }),
      times: fc.integer({ min: 0, max: 2000 }),
      checksum: fc.boolean(),
      skipped: fc.option(fc.uint8Array({ maxLength: 30 }), { nil: undefined }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(frame, { maxLength: 5 }),
        fc.integer({ min: 1, max: 300 }),
        async (frames, cut) => {
          const plain = frames.map(({ contents, times }) =>
            Buffer.concat(Array<Uint8Array>(times).fill(contents)),
          );
          const data = frames.flatMap(({ checksum, skipped }, index) => [
            ...(skipped === undefined ? [] : [skippable(Buffer.from(skipped))]),
            zstdCompressSync(plain[index] ?? '', {
              params: { [constants.ZSTD_c_checksumFlag]: checksum ? 1 : 0 },
            }),
          ]);
          expect((await decompress(Buffer.concat(data), cut)).equals(Buffer.concat(plain))).toBe(true);
        },
      ),
      { numRuns: 60 },
    );
  });

  test('reads what the zstd program writes to a pipe', async () => {
    const plain = Buffer.alloc(3_000_001, 'a line of text, and ');
    const { stdout } = await run(['bash', '-c', 'zstd -19 | base64 -w0'], { stdin: plain });
    const data = Buffer.from(stdout, 'base64');
    expect((await decompress(Buffer.concat([data, data]), 17)).equals(Buffer.concat([plain, plain]))).toBe(
      true,
    );
  });

  test.each([
    ['what is not zstd', Buffer.from('hello world')],
    ['a cut frame', zstdCompressSync(Buffer.alloc(100_000, 'abc')).subarray(0, -6)],
    ['a cut magic number', Buffer.concat([zstdCompressSync('x'), Buffer.from([0x28, 0xb5])])],
    ['what follows a frame', Buffer.concat([zstdCompressSync('x'), Buffer.from('more')])],
  ])('rejects %s', async (_name, data) => {
    await expect(decompress(data)).rejects.toThrow(SyntaxError);
  });

  test('rejects damaged contents', async () => {
    const data = zstdCompressSync(Buffer.alloc(1000, 'abc'), {
      params: { [constants.ZSTD_c_checksumFlag]: 1 },
    });
    const last = data.length - 1;
    data[last] = (data[last] ?? 0) ^ 1;
    await expect(decompress(data)).rejects.toThrow(/checksum/i);
  });
});
