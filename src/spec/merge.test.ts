import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { mergeMappings } from './merge.ts';
import { parseSource, plainValue, type SourceMapping } from './source-tree.ts';

function tree(value: object, file = 'x.yaml'): SourceMapping {
  // JSON is YAML.
  const { root, findings } = parseSource({ file, text: JSON.stringify(value) }, 'SPEC_INVALID');
  if (root === undefined) throw new TypeError(JSON.stringify(findings));
  return root;
}

function merged(...values: readonly object[]): unknown {
  return structuredClone(plainValue(values.map((value) => tree(value)).reduce(mergeMappings)));
}

describe('mergeMappings', () => {
  it('merges mappings, replaces single values, appends lists', () => {
    expect(merged({ a: 1, m: { x: 1, y: 1 }, l: [1] }, { a: 2, m: { y: 2 }, l: [2], n: 0 })).toEqual({
      a: 2,
      m: { x: 1, y: 2 },
      l: [1, 2],
      n: 0,
    });
  });

  it('replaces a value of another kind', () => {
    expect(merged({ kernel: 'cloud' }, { kernel: { version: '6' } })).toEqual({ kernel: { version: '6' } });
  });

  it('replaces a list entry of the same identity where it stood, whole', () => {
    expect(
      merged(
        {
          users: [{ name: 'a', uid: 1 }, { name: 'b' }],
          files: [{ path: '/p', name: 'x' }],
          packages: ['j=1', 'k'],
        },
        { users: [{ name: 'c' }, { name: 'a' }], files: [{ path: '/p' }], packages: ['k', 'j'] },
      ),
    ).toEqual({
      users: [{ name: 'a' }, { name: 'b' }, { name: 'c' }],
      files: [{ path: '/p' }],
      packages: ['j', 'k'],
    });
  });

  it('does not hide a duplicate of one list', () => {
    expect(merged({ l: ['a'] }, { l: ['a', 'a'] })).toEqual({ l: ['a', 'a'] });
  });

  it('keeps the place where each value was written', () => {
    const result = mergeMappings(tree({ a: 1, l: ['x'] }, 'far.yaml'), tree({ b: 2, l: ['y'] }, 'near.yaml'));
    const files = [...result.members].map(([key, { keyAt, value }]) => [key, keyAt.file, value.at.file]);
    expect(files).toEqual([
      ['a', 'far.yaml', 'far.yaml'],
      ['l', 'near.yaml', 'near.yaml'],
      ['b', 'near.yaml', 'near.yaml'],
    ]);
    const list = result.members.get('l')?.value;
    expect(list?.kind === 'list' ? list.items.map(({ at }) => at.file) : []).toEqual([
      'far.yaml',
      'near.yaml',
    ]);
  });

  const name = fc.constantFrom('a', 'b', 'c', 'd');
  const declaration = fc.record(
    {
      scalar: fc.integer(),
      mapping: fc.dictionary(name, fc.integer()),
      packages: fc
        .uniqueArray(fc.tuple(name, fc.nat(2)), { selector: ([word]) => word })
        .map((terms) => terms.map(([word, version]) => `${word}=${version}`)),
      users: fc.uniqueArray(fc.record({ name, uid: fc.nat(3) }), { selector: (user) => user.name }),
    },
    { requiredKeys: [] },
  );

  it('is associative, has the empty declaration as neutral element, and is idempotent', () => {
    fc.assert(
      fc.property(declaration, declaration, declaration, (a, b, c) => {
        const [left, right] = [tree(a), tree(c)];
        const middle = tree(b);
        expect(plainValue(mergeMappings(mergeMappings(left, middle), right))).toEqual(
          plainValue(mergeMappings(left, mergeMappings(middle, right))),
        );
        expect(plainValue(mergeMappings(tree({}), left))).toEqual(plainValue(left));
        expect(plainValue(mergeMappings(left, tree({})))).toEqual(plainValue(left));
        expect(plainValue(mergeMappings(left, left))).toEqual(plainValue(left));
      }),
    );
  });
});
