import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { runPiped } from './pipe.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot-pipe-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

test('what one writes the other reads, whole', async () => {
  const path = join(folder, 'count');
  await runPiped(['head', '-c', '5000000', '/dev/zero'], ['sh', '-c', 'wc -c > "$0"', path]);
  expect((await readFile(path, 'utf8')).trim()).toBe('5000000');
});

test('a consumer that fails ends a producer that would never end', async () => {
  await expect(
    runPiped(['cat', '/dev/zero'], ['sh', '-c', 'echo no room >&2; exit 7']),
  ).rejects.toMatchObject({
    code: 'TOOL_FAILED',
    message: expect.stringContaining('sh exited with 7') as string,
    output: 'no room',
  });
});

test('a producer that fails is the error, and its consumer never takes the half for the whole', async () => {
  const path = join(folder, 'whole');
  const producer = ['sh', '-c', 'echo half; exit 5'] as const;
  await expect(runPiped(producer, ['sh', '-c', 'cat && echo whole > "$0"', path])).rejects.toMatchObject({
    message: expect.stringContaining('exited with 5') as string,
  });
  await expect(readFile(path)).rejects.toMatchObject({ code: 'ENOENT' });
});

test('a consumer may be content before the end', async () => {
  await runPiped(['head', '-c', '5000000', '/dev/zero'], ['head', '-c', '10']);
});

test('a program that is missing on either side is TOOL_MISSING', async () => {
  for (const [producer, consumer] of [
    ['no-such-program', 'cat'],
    ['yes', 'no-such-program'],
  ] as const) {
    await expect(runPiped([producer], [consumer])).rejects.toMatchObject({ code: 'TOOL_MISSING' });
  }
});

test('an abort ends both', async () => {
  const signal = AbortSignal.timeout(200);
  await expect(
    runPiped(['cat', '/dev/zero'], ['sh', '-c', 'cat > /dev/null'], { signal }),
  ).rejects.toMatchObject({
    code: 'INTERRUPTED',
  });
});
