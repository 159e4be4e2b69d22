import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { type ChunkedStep, GROUP_BYTES, LARGE_FILE_BYTES, MAX_CHUNKS, planChunks, REST } from './chunks.ts';

type Package = ChunkedStep['packages'][number];

const packages = (max = 60): fc.Arbitrary<Package[]> =>
  fc
    .uniqueArray(
      fc.record({
        name: fc.string({ unit: fc.constantFrom('a', 'b', 'c', 'd', '0', '-'), minLength: 2, maxLength: 8 }),
        size: fc.integer({ min: 1, max: GROUP_BYTES + 500_000 }),
        source: fc.constantFrom('systemd', 'util-linux', 'glibc', undefined),
        component: fc.constantFrom('main', 'main', 'non-free', 'updates/non-free-firmware'),
      }),
      { maxLength: max, selector: ({ name }) => name },
    )
    .map((items) =>
      items.map(({ name, size, source, component }) => ({
        name,
        size,
        filename:
          source === undefined
            ? `x86_64/${name}.deb`
            : `pool/${component}/${source[0]}/${source}/${name}.deb`,
      })),
    );

const step = (items: readonly Package[], epoch = 7): ChunkedStep => ({ packages: items, epoch });
/** The packages of each chunk of whole packages, as one text each. */
const contents = (items: readonly Package[]): Set<string> =>
  new Set(
    (planChunks([step(items)])[0] ?? [])
      .slice(1)
      .filter(({ filesFrom }) => filesFrom === undefined)
      .map((chunk) => chunk.packages.join(' ')),
  );

describe('planChunks', () => {
  it('puts every package into one chunk, and first what no package owns', () => {
    fc.assert(
      fc.property(packages(), (items) => {
        const [chunks = []] = planChunks([step(items)]);
        expect(chunks[0]).toEqual({ name: REST, packages: [], epoch: 7 });
        const whole = chunks.filter(({ filesFrom }) => filesFrom === undefined);
        expect(whole.flatMap((chunk) => chunk.packages).sort()).toEqual(items.map(({ name }) => name).sort());
        expect(new Set(chunks.map(({ name }) => name)).size).toBe(chunks.length);
        expect(chunks.slice(1).every((chunk) => chunk.packages.length > 0)).toBe(true);
      }),
    );
  });

  it('does not depend on the order of packages', () => {
    fc.assert(
      fc.property(packages(), (items) => {
        expect(planChunks([step(items.toReversed())])).toEqual(planChunks([step(items)]));
      }),
    );
  });

  it('leaves all chunks but one alone when a package comes, and so when it goes', () => {
    fc.assert(
      fc.property(packages(), fc.nat(), (items, at) => {
        fc.pre(items.length > 0);
        const without = items.toSpliced(at % items.length, 1);
        expect([...contents(without).difference(contents(items))].length).toBeLessThanOrEqual(1);
      }),
      { numRuns: 300 },
    );
  });

  it('gives a large package a chunk of its own, which bears its name', () => {
    const cublas = { name: 'libcublas12', size: GROUP_BYTES + 1, filename: 'x' };
    const bash = { name: 'bash', size: 1000, filename: 'y' };
    expect(planChunks([step([bash, cublas])])[0]?.slice(1)).toEqual([
      { name: 'libcublas12', packages: ['libcublas12'] },
      { name: 'packages', packages: ['bash'] },
    ]);
  });

  it('has the large files of what is only packed apart from its documents: of large packages each, of others by source', () => {
    const nvidia = (name: string, size: number): Package => ({
      name,
      size,
      filename: `pool/non-free/n/nvidia-graphics-drivers/${name}_1_amd64.deb`,
    });
    const bash = { name: 'bash', size: GROUP_BYTES + 1, filename: 'pool/main/b/bash/bash_1_amd64.deb' };
    const items = [nvidia('libcuda1', 5), nvidia('nvidia-smi', 5), nvidia('libnvvm', GROUP_BYTES + 1), bash];
    const filesFrom = LARGE_FILE_BYTES;
    expect(planChunks([{ ...step(items), level: 9 }])[0]).toEqual([
      { name: 'rest', packages: [], epoch: 7, level: 9 },
      { name: 'bash', packages: ['bash'], level: 9 },
      { name: 'libnvvm', packages: ['libnvvm'], level: 9 },
      { name: 'packages', packages: ['libcuda1', 'nvidia-smi'], level: 9 },
      { name: 'libnvvm:files', packages: ['libnvvm'], level: 9, filesFrom },
      {
        name: 'nvidia-graphics-drivers:source-files',
        packages: ['libcuda1', 'nvidia-smi'],
        level: 9,
        filesFrom,
      },
    ]);
    // Over the limit, files are joined with files.
    for (const chunk of planChunks([step(items)], 3)[0] ?? []) {
      expect(chunk.packages).toHaveLength(chunk.name === REST ? 0 : chunk.filesFrom === undefined ? 4 : 3);
    }
  });

  it('keeps the packages of one source together', () => {
    const half = GROUP_BYTES / 2 + 1;
    const debs = (source: string): Package[] =>
      ['one', 'two'].map((name) => ({
        name: `${source}-${name}`,
        size: half,
        // One of them from the security archive.
        filename: `pool/${name === 'two' ? 'updates/main' : 'main'}/${source.startsWith('lib') ? 'liba' : source[0]}/${source}/${source}-${name}_1_amd64.deb`,
      }));
    const groups = contents([...debs('systemd'), ...debs('glibc'), ...debs('libarchive')]);
    expect(groups).toEqual(
      new Set(['systemd-one systemd-two', 'glibc-one glibc-two', 'libarchive-one libarchive-two']),
    );
  });

  it('keeps an image within its limit, joining the smallest chunks first', () => {
    const small = Array.from({ length: 30 }, (_, index) => ({
      name: `p${index}`,
      size: GROUP_BYTES + 1 + index,
      filename: 'x',
    }));
    const steps = [step(small), step([]), step(small)];
    const chunks = planChunks(steps, 20);
    expect(chunks.flat()).toHaveLength(20);
    expect(planChunks(steps, 20)).toEqual(chunks);
    for (const own of [chunks[0], chunks[2]]) {
      expect(own?.flatMap((chunk) => chunk.packages).sort()).toEqual(small.map(({ name }) => name).sort());
    }
    // One over the limit: just the two smallest of one step are in one chunk.
    const [first = [], , third = []] = planChunks(steps, 62);
    expect(first.filter((chunk) => chunk.packages.length > 1)).toEqual([
      { name: 'p1', packages: ['p0', 'p1'] },
    ]);
    expect(third).toHaveLength(31);
    fc.assert(
      fc.property(fc.array(packages(200), { maxLength: 5 }), (all) => {
        expect(planChunks(all.map((items) => step(items))).flat().length).toBeLessThanOrEqual(MAX_CHUNKS);
      }),
      { numRuns: 20 },
    );
  });
});
