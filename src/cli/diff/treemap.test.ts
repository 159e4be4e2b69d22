import fc from 'fast-check';
import { expect, test } from 'vitest';

import { squarify } from './treemap.ts';

const SPACE = { x: 10, y: 20, width: 600, height: 400 };

test('areas are in proportion, inside of the space, and do not overlap', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 1_000_000 }), { minLength: 1, maxLength: 40 }),
      (weights) => {
        const placed = squarify(weights, SPACE);
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        expect(placed).toHaveLength(weights.length);
        for (const [index, one] of placed.entries()) {
          const area = ((weights[index] ?? 0) / total) * SPACE.width * SPACE.height;
          expect(one.width * one.height).toBeCloseTo(area, 3);
          expect(one.x).toBeGreaterThanOrEqual(SPACE.x - 1e-6);
          expect(one.y).toBeGreaterThanOrEqual(SPACE.y - 1e-6);
          expect(one.x + one.width).toBeLessThanOrEqual(SPACE.x + SPACE.width + 1e-6);
          expect(one.y + one.height).toBeLessThanOrEqual(SPACE.y + SPACE.height + 1e-6);
          for (const other of placed.slice(index + 1)) {
            const across = Math.min(one.x + one.width, other.x + other.width) - Math.max(one.x, other.x);
            const down = Math.min(one.y + one.height, other.y + other.height) - Math.max(one.y, other.y);
            expect(Math.min(across, down)).toBeLessThan(1e-6);
          }
        }
      },
    ),
    { numRuns: 200 },
  );
});

test('nothing gets no room, and a space of nothing holds everything', () => {
  expect(squarify([0, 4], SPACE).map(({ width, height }) => width * height)).toEqual([0, 240_000]);
  expect(squarify([], SPACE)).toEqual([]);
  expect(squarify([1, 2], { ...SPACE, width: 0 })).toHaveLength(2);
});
