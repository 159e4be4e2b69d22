import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { type TestLayer, TreeRepository } from '../../../test/support/tree-repository.ts';
import type { Directory } from './merged-tree.ts';
import { checksumOf, objectPath, parseDirectoryMeta, parseDirectoryTree } from './tree-objects.ts';

let scratch: string;
let repository: TreeRepository;
let count = 0;

beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'ingot-merged-'));
  repository = new TreeRepository(join(scratch, 'repo'));
});
afterAll(() => {
  rmSync(scratch, { recursive: true });
});

type Content = { readonly file: string } | { readonly mode: number; readonly isImplied: boolean };
/** What a layer's archive holds, by path. */
type Layer = ReadonlyMap<string, Content>;

/** As ostree has it: what lies in no directory of the archive gets one. */
function addLayer(layer: Layer): TestLayer {
  const folder = join(scratch, `layer-${++count}`);
  mkdirSync(folder);
  chmodSync(folder, 0o755);
  for (const [path, content] of layer) {
    const place = join(folder, path);
    if ('file' in content) {
      mkdirSync(dirname(place), { recursive: true, mode: 0o755 });
      writeFileSync(place, content.file);
    } else {
      mkdirSync(place, { recursive: true, mode: 0o755 });
    }
  }
  const isImplied = (path: string): boolean => {
    const content = layer.get(path);
    return content === undefined || 'file' in content || content.isImplied;
  };
  for (const [path, content] of layer) {
    if ('mode' in content && !content.isImplied) chmodSync(join(folder, path), content.mode);
  }
  return repository.add(folder, { hasHeader: (path) => !isImplied(path) });
}

/** The same by the rules alone: paths, and what stands there. */
function layByRules(below: Map<string, string>, layer: Layer): Map<string, string> {
  const result = new Map(below);
  const forget = (path: string, itself: boolean): void => {
    for (const known of [...result.keys()]) {
      if ((itself && known === path) || known.startsWith(path === '' ? '' : `${path}/`)) result.delete(known);
    }
  };
  const hidden = [...layer.keys()].filter((path) => nameOf(path).startsWith('.wh.'));
  for (const path of hidden) {
    const folder = folderOf(path);
    if (nameOf(path) === '.wh..wh..opq') forget(folder, false);
    else forget(folder === '' ? nameOf(path).slice(4) : `${folder}/${nameOf(path).slice(4)}`, true);
  }
  const makeFolder = (path: string): void => {
    if (path === '') return;
    makeFolder(folderOf(path));
    const there = result.get(path);
    if (there?.startsWith('directory') !== true) result.set(path, 'directory 755');
  };
  for (const [path, content] of layer) {
    if (nameOf(path).startsWith('.wh.')) {
      makeFolder(folderOf(path));
    } else if ('file' in content) {
      makeFolder(folderOf(path));
      forget(path, true);
      result.set(path, `file ${content.file}`);
    } else {
      makeFolder(path);
      if (!content.isImplied) result.set(path, `directory ${content.mode.toString(8)}`);
    }
  }
  return result;
}

const nameOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1);
const folderOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf('/')));

const read = (kind: 'dirtree' | 'dirmeta', checksum: Buffer, made: ReadonlyMap<string, Buffer>): Buffer =>
  made.get(objectPath(checksum, kind)) ??
  readFileSync(join(repository.path, 'objects', objectPath(checksum, kind)));

/** What is written at the end, read again from its bytes. */
function described(layers: readonly TestLayer[]): Map<string, string> {
  const { tree, made } = repository.merge(layers).objects();
  const bytes = new Map(made.map((object) => [objectPath(object.checksum, object.kind), object.bytes]));
  for (const object of made) expect(checksumOf(object.bytes)).toEqual(object.checksum);
  const result = new Map<string, string>();
  const walk = (checksum: Buffer, path: string): void => {
    const { files, directories } = parseDirectoryTree(read('dirtree', checksum, bytes));
    for (const [name, file] of files) {
      const place = join(repository.path, 'objects', objectPath(file, 'file'));
      result.set(`${path}${name}`, `file ${readFileSync(place, 'utf8')}`);
    }
    for (const [name, entry] of directories) {
      expect(result.has(`${path}${name}`)).toBe(false);
      const { mode } = parseDirectoryMeta(read('dirmeta', entry.meta, bytes));
      result.set(`${path}${name}`, `directory ${mode.toString(8)}`);
      walk(entry.tree, `${path}${name}/`);
    }
  };
  walk(tree, '');
  return result;
}

const sorted = (map: ReadonlyMap<string, string>): string[] =>
  [...map].map(([path, what]) => `${path}: ${what}`).sort();

const plainName = fc.constantFrom('a', 'b', 'cä', 'd'.repeat(200));
const lastName = fc.oneof(
  { weight: 6, arbitrary: plainName },
  { weight: 2, arbitrary: plainName.map((name) => `.wh.${name.slice(0, 100)}`) },
  { weight: 1, arbitrary: fc.constant('.wh..wh..opq') },
);
const entry = fc
  .tuple(
    fc.array(plainName, { maxLength: 3 }),
    lastName,
    fc.option(fc.tuple(fc.constantFrom(0o700, 0o755, 0o1777, 0o2750), fc.boolean())),
    fc.constantFrom('', 'x', 'y'),
  )
  .map(([folders, name, directory, file]): readonly [string, Content] => [
    [...folders, name].join('/'),
    directory === null || name.startsWith('.wh.')
      ? { file: name.startsWith('.wh.') ? '' : file }
      : { mode: directory[0], isImplied: directory[1] },
  ]);
/** In one archive nothing stands in a file, and nothing twice. */
const layer = fc.array(entry, { minLength: 1, maxLength: 8 }).map((entries): Layer => {
  const kept = new Map<string, Content>();
  for (const [path, content] of entries) {
    const above = path.split('/').map((_part, index, parts) => parts.slice(0, index).join('/'));
    const inFile = above.some((folder) => kept.has(folder) && 'file' in (kept.get(folder) ?? {}));
    const isFolder = [...kept.keys()].some((known) => known.startsWith(`${path}/`));
    if (!inFile && !kept.has(path) && !('file' in content && isFolder)) kept.set(path, content);
  }
  return kept;
});

test('layers over each other are what the rules say, whatever they hold', () => {
  fc.assert(
    fc.property(fc.array(layer, { minLength: 1, maxLength: 4 }), (layers) => {
      const expected = layers.reduce(layByRules, new Map<string, string>());
      expect(sorted(described(layers.map(addLayer)))).toEqual(sorted(expected));
    }),
    { numRuns: 200 },
  );
});

test('a directory that one layer alone fills is the object that is there', () => {
  const file = { file: 'x' };
  const base = addLayer(
    new Map([
      ['usr/share/doc/a', file],
      ['usr/bin/a', file],
      ['etc/a', file],
    ]),
  );
  const addon = addLayer(new Map([['usr/bin/b', file]]));
  const alone = repository.merge([base]).objects();
  expect(alone.made).toEqual([]);
  const { made } = repository.merge([base, addon]).objects();
  // The root, /usr and /usr/bin.
  expect(made).toHaveLength(3);
});

test('a directory moves with all that is in it', () => {
  const file = { file: 'x' };
  const tree = repository.merge([
    addLayer(
      new Map([
        ['etc/a', file],
        ['usr/bin/b', file],
      ]),
    ),
  ]);
  tree.move(['etc'], ['usr', 'etc']);
  const names = (directory: Directory | undefined): string[] => [...(directory?.directories.keys() ?? [])];
  expect(names(tree.root)).toEqual(['usr']);
  expect(names(tree.root.directories.get('usr')).sort()).toEqual(['bin', 'etc']);
  expect(tree.objects().made).toHaveLength(2);
});

test('an object that is damaged or missing is DISK_FAILED', () => {
  const { commit, directories } = addLayer(new Map([['usr/bin/only-here', { file: 'x' }]]));
  const { tree } = repository.merge([{ commit, directories }]).objects();
  const place = join(repository.path, 'objects', objectPath(tree, 'dirtree'));
  const whole = readFileSync(place);
  for (const damaged of [Buffer.alloc(0), whole.subarray(0, -1), Buffer.alloc(whole.length, 0xff)]) {
    writeFileSync(place, damaged);
    expect(() => repository.merge([{ commit, directories }])).toThrow(
      expect.objectContaining({ code: 'DISK_FAILED' }),
    );
  }
  rmSync(place);
  expect(() => repository.merge([{ commit, directories }])).toThrow(/cannot be read/);
});
