import fc from 'fast-check';
import { expect, test } from 'vitest';

import type { FileState, LayerEntries } from './image-summary.ts';
import { compareFiles, stackLayers } from './stack-layers.ts';

const state = (type: FileState['type'], content?: string): FileState => ({
  type,
  mode: 0o644,
  uid: 0,
  gid: 0,
  size: 1,
  ...(content !== undefined && { content }),
});
const layer = (
  entries: Readonly<Record<string, FileState>>,
  whiteouts: readonly string[] = [],
  opaque: readonly string[] = [],
): LayerEntries => ({
  entries: new Map(Object.entries(entries)),
  whiteouts: new Set(whiteouts),
  opaque: new Set(opaque),
  texts: new Map(),
});
const pathsOf = (...layers: LayerEntries[]): string[] => [...stackLayers(layers).files.keys()].sort();

const LOWER = layer({
  a: state('directory'),
  'a/b': state('directory'),
  'a/b/c': state('file'),
  ab: state('file'),
});

test('whiteouts hide what is below them, and not what begins alike', () => {
  expect(pathsOf(LOWER, layer({}, ['a']))).toEqual(['ab']);
  expect(pathsOf(LOWER, layer({}, ['a/b']))).toEqual(['a', 'ab']);
});

test('an opaque folder keeps itself and what its own layer brings', () => {
  expect(pathsOf(LOWER, layer({ 'a/new': state('file') }, [], ['a']))).toEqual(['a', 'a/new', 'ab']);
});

test('a file in the place of a folder hides its contents', () => {
  expect(pathsOf(LOWER, layer({ a: state('symlink') }))).toEqual(['a', 'ab']);
});

test('says what of a file differs, and leaves out folders that come and go', () => {
  const before = new Map([
    ['a', state('file', '1')],
    ['d', state('directory')],
    ['l', { ...state('symlink', 'x'), mode: 0o777 }],
  ]);
  const after = new Map([
    ['a', { ...state('file', '2'), mode: 0o600, uid: 5, attributes: 'x' }],
    ['l', { ...state('symlink', 'x'), mode: 0o755 }],
  ]);
  expect(compareFiles(before, after)).toMatchObject([
    { path: 'a', what: ['content', 'mode', 'owner', 'attributes'] },
  ]);
});

test('laws: against itself nothing differs; the other way round added is removed', () => {
  const files = fc
    .dictionary(
      fc.constantFrom('a', 'a/b', 'c', 'd/e'),
      fc.record({
        type: fc.constantFrom('file', 'symlink', 'directory'),
        mode: fc.constantFrom(0o644, 0o755),
        uid: fc.constantFrom(0, 1),
        gid: fc.constant(0),
        size: fc.constantFrom(1, 2),
        content: fc.constantFrom('1', '2'),
      } as const),
    )
    .map((entries) => new Map<string, FileState>(Object.entries(entries)));
  fc.assert(
    fc.property(files, files, (one, other) => {
      expect(compareFiles(one, one)).toEqual([]);
      const there = compareFiles(one, other);
      const back = compareFiles(other, one);
      const turned = { added: 'removed', removed: 'added', changed: 'changed' } as const;
      expect(back.map(({ path, change }) => [path, change])).toEqual(
        there.map(({ path, change }) => [path, turned[change]]),
      );
    }),
  );
});
