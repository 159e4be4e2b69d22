import { expect, test } from 'vitest';

import { criticalPath, Timeline, type Part, type Work } from './timeline.ts';

const work = (step: string, part: Part, seconds: readonly [number, number], after: readonly string[]): Work => ({
  step,
  part,
  start: seconds[0] * 1000,
  end: seconds[1] * 1000,
  after,
});

test('the critical path is the chain that ended last', () => {
  const works = [
    work('base', 'tree', [0, 10], []),
    work('kernel', 'tree', [10, 14], ['base']),
    work('cuda', 'tree', [10, 25], ['base']),
    work('base', 'blobs', [10, 12], ['base']),
    work('seal', 'tree', [25, 40], ['base', 'kernel', 'cuda']),
    work('cuda', 'blobs', [25, 38], ['cuda']),
    work('seal', 'blobs', [40, 41], ['seal']),
  ];
  const expected = [
    { step: 'base', part: 'tree', seconds: 10 },
    { step: 'cuda', part: 'tree', seconds: 15 },
    { step: 'seal', part: 'tree', seconds: 15 },
    { step: 'seal', part: 'blobs', seconds: 1 },
  ];
  expect(criticalPath(works)).toEqual(expected);
  expect(criticalPath(works.toReversed())).toEqual(expected);
  // Blobs that take longer than all that follows decide.
  const packed = works.map((one) => (one.step === 'cuda' && one.part === 'blobs' ? { ...one, end: 50_000 } : one));
  expect(criticalPath(packed).map(({ step, part }) => `${step} ${part}`)).toEqual([
    'base tree',
    'cuda tree',
    'cuda blobs',
  ]);
});

test('what was in the store is not on it', () => {
  expect(criticalPath([work('seal', 'tree', [0, 3], ['base', 'kernel'])])).toEqual([
    { step: 'seal', part: 'tree', seconds: 3 },
  ]);
  expect(criticalPath([])).toEqual([]);
});

test('work that failed is not on it', async () => {
  const timeline = new Timeline();
  const about = { step: 'base', part: 'tree', after: [] } as const;
  await expect(timeline.measure(about, () => Promise.reject(new Error('broken')))).rejects.toThrow('broken');
  expect(timeline.criticalPath()).toEqual([]);
  expect(await timeline.measure(about, () => Promise.resolve('made'))).toBe('made');
  expect(timeline.criticalPath()).toMatchObject([{ step: 'base', part: 'tree' }]);
});
