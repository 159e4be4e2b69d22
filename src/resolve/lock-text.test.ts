import fc from 'fast-check';
import { expect, test } from 'vitest';

import { canonicalJson, digestOf } from '../digest.ts';
import { FindingsError } from '../errors.ts';
import { parseLock, renderLock } from './lock-text.ts';
import type { Lock } from './lock.ts';

const name = fc.stringMatching(/^[a-z0-9][a-z0-9+.-]{1,12}$/);
const digest = fc.string().map((text) => digestOf(text));
const time = fc
  .date({ min: new Date('2000-01-01'), max: new Date('2100-01-01'), noInvalidDate: true })
  .map((date) => date.toISOString().replace(/\.\d+Z$/, 'Z'));
// Text that YAML could take for something else.
const version = fc.oneof(
  fc.stringMatching(/^\d[0-9.+~:-]{0,8}$/),
  fc.constantFrom('1', '1.0', '1e3', '0x10', '012', '1:2', '2025-11-22', '~', 'null', 'no'),
);
const item = fc.record(
  {
    name,
    version,
    architecture: fc.constantFrom('amd64', 'all'),
    sha256: fc.stringMatching(/^[0-9a-f]{64}$/),
    size: fc.nat(),
    filename: name.map((text) => `pool/${text}.deb`).filter((text) => !text.includes('..')),
    archive: name,
    essential: fc.constant(true as const),
  },
  { requiredKeys: ['name', 'version', 'architecture', 'sha256', 'size', 'filename', 'archive'] },
);
const archives = fc.array(fc.record({ name, suites: fc.array(name), components: fc.array(name) }), {
  maxLength: 2,
});
const layer = fc.record(
  {
    name,
    kind: name,
    definition: fc.record({ name, digest }),
    created: time,
    packages: fc.array(item, { maxLength: 4 }),
  },
  { requiredKeys: ['name', 'kind', 'created', 'packages'] },
);
const lock: fc.Arbitrary<Lock> = fc.record(
  {
    schemaVersion: fc.constant(1 as const),
    name,
    variant: name,
    declaration: digest,
    created: time,
    version,
    base: fc.record({ name, release: version, suite: name, architecture: fc.constant('amd64' as const) }),
    kernel: fc.record({ flavour: name, package: name, version, release: name }),
    compressor: fc.record({ name: fc.constant('zstd' as const), version, level: fc.nat(22) }),
    archives,
    layers: fc.array(layer, { minLength: 1, maxLength: 3 }),
    tools: fc.record({
      definition: digest,
      suite: name,
      archives,
      packages: fc.array(item, { maxLength: 3 }),
    }),
  },
  {
    requiredKeys: [
      'schemaVersion',
      'name',
      'declaration',
      'created',
      'version',
      'base',
      'kernel',
      'compressor',
      'archives',
      'layers',
      'tools',
    ],
  },
);

test('what is written is what is read, and is written the same again', () => {
  fc.assert(
    fc.property(lock, (value) => {
      const text = renderLock(value);
      const back = parseLock(text, 'x.lock.yaml');
      expect(canonicalJson(back)).toBe(canonicalJson(value));
      expect(renderLock(back)).toBe(text);
    }),
  );
});

test('one line for each package, and a word for whoever opens it', () => {
  fc.assert(
    fc.property(lock, (value) => {
      const lines = renderLock(value).split('\n');
      expect(lines[0]).toMatch(/^# Made by `ingot lock`/);
      const packages = [...value.layers.flatMap((each) => each.packages), ...value.tools.packages];
      expect(lines.filter((line) => /^ +- \{name: .*sha256: .*\}$/.test(line)).length).toBe(packages.length);
    }),
  );
});

function findingsOf(text: string): FindingsError['findings'] {
  try {
    parseLock(text, 'x.lock.yaml');
  } catch (error) {
    if (error instanceof FindingsError) return error.findings;
    throw error;
  }
  throw new Error('expected findings');
}

test('what is wrong has its line', () => {
  const [value] = fc.sample(
    lock.filter(({ layers }) => (layers[0]?.packages.length ?? 0) > 0),
    { numRuns: 1, seed: 1 },
  );
  if (value === undefined) throw new Error('no sample');
  const lines = renderLock(value).split('\n');
  const at = lines.findIndex((line) => line.includes('sha256: '));
  lines[at] = (lines[at] ?? '').replace(/sha256: "?[0-9a-f]{64}"?/, 'sha256: "00"');
  const [finding] = findingsOf(lines.join('\n'));
  expect(finding).toMatchObject({ code: 'LOCK_INVALID', location: { file: 'x.lock.yaml', line: at + 1 } });
});

test.each([
  ['nothing', ''],
  ['no YAML', 'a: [1'],
  ['a merge conflict', '<<<<<<< ours\nname: a\n=======\nname: b\n>>>>>>> theirs\n'],
  ['another schema version', 'schemaVersion: 2\n'],
])('%s is no lock', (_what, text) => {
  expect(findingsOf(text).every(({ code }) => code === 'LOCK_INVALID')).toBe(true);
});

test('a package file outside the pool is refused', () => {
  const [value] = fc.sample(lock, { numRuns: 1, seed: 2 });
  if (value === undefined) throw new Error('no sample');
  const bad = { ...value, tools: { ...value.tools, packages: [{ name: 'a', filename: '../../etc/x.deb' }] } };
  expect(() => renderLock(bad as unknown as Lock)).toThrow();
});
