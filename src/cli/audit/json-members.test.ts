import fc from 'fast-check';
import { expect, it } from 'vitest';

import { JsonMembers } from './json-members.ts';

function read(
  text: string,
  wants: (name: string) => boolean = () => true,
  step = text.length,
): [string, unknown][] {
  const found: [string, unknown][] = [];
  const members = new JsonMembers({ wants, onMember: (...one) => found.push(one), maxBytes: 1000 });
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += step) members.write(bytes.subarray(at, at + step));
  members.end();
  return found;
}

it('gives the members that are wanted, wherever the bytes are cut', () => {
  const value = fc.jsonValue({ maxDepth: 3, depthSize: 'small' });
  const object = fc.dictionary(fc.string({ maxLength: 6 }), value, { maxKeys: 4 });
  fc.assert(
    fc.property(
      object,
      fc.nat(9),
      fc.constantFrom(undefined, 1, '\t'),
      fc.func(fc.boolean()),
      (one, step, space, wants) => {
        const text = JSON.stringify(one, null, space);
        fc.pre(text.length < 900);
        const wanted = Object.entries(JSON.parse(text) as object).filter(([name]) => wants(name));
        expect(read(text, wants, step + 1)).toEqual(wanted);
      },
    ),
  );
});

it.each(['', '[1]', '"text"', '{"a": 1', '{"a" 1}', '{"a": {"b": 1}', '{"a": 1, 2}', '{a: 1}', '{"a": 1} x'])(
  'refuses %j',
  (text) => {
    expect(() => read(text)).toThrow();
  },
);

it('keeps no more of one member than it may, and no byte of the others', () => {
  const long = JSON.stringify({ other: 'x'.repeat(5000), mine: 1 });
  expect(read(long, (name) => name === 'mine')).toEqual([['mine', 1]]);
  expect(() => read(long)).toThrow('larger');
});
