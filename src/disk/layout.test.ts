import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';

import { defaultDiskSize, GIB, layOutDisk, MIB, minimumDiskSize, newDiskIdentity } from './layout.ts';

const content = fc.integer({ min: 0, max: 200 * GIB });

test('partitions are aligned, in order, apart, and leave room for both tables', () => {
  fc.assert(
    fc.property(fc.integer({ min: 600 * MIB, max: 1000 * GIB }), (size) => {
      const layout = layOutDisk(size, newDiskIdentity(randomUUID));
      expect(layout.size).toBeGreaterThanOrEqual(size);
      expect(layout.size % MIB).toBe(0);
      let end = MIB;
      for (const partition of [layout.esp, layout.boot, layout.root]) {
        expect(partition.offset).toBe(end);
        expect(partition.offset % MIB).toBe(0);
        expect(partition.size % MIB).toBe(0);
        end = partition.offset + partition.size;
      }
      expect(end).toBe(layout.size - MIB);
    }),
  );
});

test('a disk that has no room for a root is refused', () => {
  expect(() => layOutDisk(577 * MIB, newDiskIdentity(randomUUID))).toThrow(RangeError);
});

test('the default holds what it must, twice, and both sizes grow with the content', () => {
  fc.assert(
    fc.property(content, content, (one, other) => {
      const [less, more] = [Math.min(one, other), Math.max(one, other)];
      expect(minimumDiskSize(less)).toBeLessThanOrEqual(minimumDiskSize(more));
      expect(defaultDiskSize(less)).toBeLessThanOrEqual(defaultDiskSize(more));
      expect(defaultDiskSize(less)).toBeGreaterThanOrEqual(minimumDiskSize(2 * less));
      expect(layOutDisk(minimumDiskSize(less), newDiskIdentity(randomUUID)).root.size).toBeGreaterThan(less);
    }),
  );
  expect(defaultDiskSize(300 * MIB)).toBe(4 * GIB);
});

test('every disk has an identity of its own', () => {
  const identity = newDiskIdentity(randomUUID);
  expect(identity.espVolumeId).toMatch(/^[0-9A-F]{8}$/);
  const { table, partitions, bootUuid, rootUuid } = identity;
  expect(new Set([table, ...Object.values(partitions), bootUuid, rootUuid]).size).toBe(6);
  expect(newDiskIdentity(randomUUID)).not.toEqual(identity);
});
