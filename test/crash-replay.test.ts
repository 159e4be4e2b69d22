/** What rebuilds a disk from the log of its writes. */
import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { ChaosRun } from './support/crash/chaos-run.ts';
import { CrashImage } from './support/crash/crash-image.ts';
import { chooseCrashPoints, seededRandom, unflushed, wholeUntil } from './support/crash/crash-points.ts';
import { parseMenuEntries } from './support/crash/judge-disk.ts';
import { countEntries, type LogEntry, readWriteLog, SECTOR } from './support/crash/write-log.ts';

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot-crash-'));
});

afterAll(async () => {
  await rm(folder, { recursive: true });
});

/** A write of sectors full of one byte, a flush, or a discard. */
type Step =
  | { readonly write: number; readonly at: number; readonly sectors: number }
  | 'flush'
  | { readonly discard: number };

/** As QEMU's blklogwrites lays it out. */
async function writeLog(name: string, steps: readonly Step[]): Promise<string> {
  const sector = (values: readonly (bigint | number)[]): Buffer => {
    const bytes = Buffer.alloc(SECTOR);
    values.forEach((value, index) => bytes.writeBigUInt64LE(BigInt(value), index * 8));
    return bytes;
  };
  const header = sector([0x6a736677736872n, 1, steps.length]);
  header.writeUInt32LE(SECTOR, 24);
  const entries = steps.flatMap((step) => {
    if (step === 'flush') return [sector([0, 0, 1, 0])];
    if ('discard' in step) return [sector([step.discard, 1, 4, 0])];
    return [sector([step.at, step.sectors, 0, 0]), Buffer.alloc(step.sectors * SECTOR, step.write)];
  });
  const path = join(folder, name);
  await writeFile(path, Buffer.concat([header, ...entries]));
  return path;
}

const STEPS: readonly Step[] = [
  { write: 1, at: 0, sectors: 4 },
  'flush',
  { write: 2, at: 1, sectors: 2 },
  { write: 3, at: 4, sectors: 2 },
  { discard: 0 },
];

test('a log is read entry by entry', async () => {
  const path = await writeLog('log', STEPS);
  expect(await countEntries(path)).toBe(5);
  const file = await open(path);
  const entries = await readWriteLog(file);
  await file.close();
  expect(
    entries.map(({ offset, length, isFlush, isDiscard }) => [offset, length, isFlush, isDiscard]),
  ).toEqual([
    [0, 2048, false, false],
    [0, 0, true, false],
    [512, 1024, false, false],
    [2048, 1024, false, false],
    [0, 512, false, true],
  ]);
  await writeFile(path, 'something else, long enough to be read as a header');
  await expect(countEntries(path)).rejects.toThrow(/no log of writes/);
});

test('a disk has what reached it, and of a torn write the beginning', async () => {
  const log = await writeLog('log', STEPS);
  const before = join(folder, 'before.raw');
  await writeFile(before, Buffer.alloc(6 * SECTOR, 9));
  await using image = await CrashImage.open(before, log, folder);
  const sectors = async (at: number, lost: readonly (readonly [number, number])[] = []): Promise<string> => {
    await image.rebuild({ at, lost: new Map(lost) });
    const bytes = await readFile(join(folder, 'point.raw'));
    return Array.from({ length: 6 }, (_, index) => bytes[index * SECTOR]).join('');
  };
  expect(await sectors(0)).toBe('999999');
  expect(await sectors(2)).toBe('111199');
  expect(await sectors(4, [[2, 0]])).toBe('111133');
  expect(await sectors(4, [[2, SECTOR]])).toBe('121133');
  expect(await sectors(5, [[3, 0]])).toBe('022199');
  expect(await sectors(5)).toBe('022133');
  await expect(sectors(1)).rejects.toThrow(/does not go back/);

  const point = { at: 4, lost: new Map([[3, 0]]) };
  const key = (offset: number): string => image.keyOf(point, { offset, size: SECTOR });
  expect(key(2 * SECTOR)).not.toBe(
    image.keyOf({ at: 2, lost: new Map() }, { offset: 2 * SECTOR, size: SECTOR }),
  );
  expect(key(0)).toBe(image.keyOf({ at: 2, lost: new Map() }, { offset: 0, size: SECTOR }));
});

test('what was flushed is never lost, and points come in an order that a disk can go', () => {
  const entry = fc.record({
    offset: fc.constant(0),
    length: fc.nat(8).map((sectors) => sectors * SECTOR),
    isFlush: fc.boolean(),
    isDiscard: fc.constant(false),
    content: fc.constant(0),
  });
  fc.assert(
    fc.property(fc.array(entry, { minLength: 1, maxLength: 40 }), fc.nat(), (entries: LogEntry[], seed) => {
      const range = { from: 0, to: entries.length, count: 20 };
      const points = chooseCrashPoints(entries, range, seededRandom(seed));
      expect(points).toEqual(chooseCrashPoints(entries, range, seededRandom(seed)));
      for (const { at, lost } of points) {
        const open = unflushed(entries, at);
        for (const [index, bytes] of lost) {
          expect(open).toContain(index);
          expect(bytes).toBeLessThanOrEqual(entries[index]?.length ?? 0);
          expect(bytes % SECTOR).toBe(0);
        }
      }
      const order = points.map(wholeUntil);
      expect(order).toEqual(order.toSorted((one, other) => one - other));
    }),
  );
});

test('a menu is read for what it starts, each system once', () => {
  const menu = `menuentry 'New' {
\tlinux '/ostree/a/vmlinuz' 'quiet' 'ostree=/ostree/boot.1/a/0' $trial
\tinitrd '/ostree/a/initramfs.img'
}
menuentry 'Back' {
\t\tlinux '/ostree/a/vmlinuz' 'quiet' 'ostree=/ostree/boot.1/a/0' $back
\t\tinitrd '/ostree/a/initramfs.img'
}
`;
  const [entry, ...more] = parseMenuEntries(menu);
  expect(more).toEqual([]);
  expect(entry?.files).toEqual(['/ostree/a/vmlinuz', '/ostree/a/initramfs.img']);
  expect(entry?.words).toContain('ostree=/ostree/boot.1/a/0');
});

test('a run of trials goes on where it was ended', async () => {
  const choices = { seed: 7, trials: 12, points: 0 };
  const timing = { beginnings: [{ phase: 'staging' as const, seconds: 20 }], end: 90 };
  const begun = await ChaosRun.begin(folder, choices, timing, 'all good');
  const complaint = 'it did not come back';
  await Promise.all([
    begun.add(3, { phase: 'boot', system: 'new', next: 'disk' }),
    begun.add(0, { phase: 'staging', system: 'none', next: 'machine', complaint }),
  ]);

  const found = await ChaosRun.find(folder, choices);
  expect(found?.moments).toEqual(begun.moments);
  expect(found?.replay).toBe('all good');
  expect([0, 1, 2, 3].filter((index) => found?.has(index))).toEqual([0, 3]);
  expect(found?.outcomes).toHaveLength(2);
  expect(found?.outcomes).toEqual(expect.arrayContaining([...begun.outcomes]));
  expect(await ChaosRun.find(folder, { ...choices, trials: 13 })).toBeUndefined();
});
