import fc from 'fast-check';
import { expect, test } from 'vitest';

import { parseChallenges } from './challenge.ts';

const plain = (header: string): unknown =>
  parseChallenges(header).map(({ scheme, parameters }) => ({ scheme, ...Object.fromEntries(parameters) }));

test.each([
  [
    'Bearer realm="https://auth.example.com/token",service="r",scope="repository:a/b:pull,push"',
    [
      {
        scheme: 'bearer',
        realm: 'https://auth.example.com/token',
        service: 'r',
        scope: 'repository:a/b:pull,push',
      },
    ],
  ],
  ['Basic realm="a \\"quoted\\" realm"', [{ scheme: 'basic', realm: 'a "quoted" realm' }]],
  [
    'basic realm = x, BEARER Realm="y" , error=invalid_token',
    [
      { scheme: 'basic', realm: 'x' },
      { scheme: 'bearer', realm: 'y', error: 'invalid_token' },
    ],
  ],
  ['Negotiate', [{ scheme: 'negotiate' }]],
  ['Bearer realm="never ends', [{ scheme: 'bearer' }]],
  ['', []],
  ['=,=', []],
])('%s', (header, expected) => {
  expect(plain(header)).toEqual(expected);
});

test('no header is too strange to be read', () => {
  fc.assert(fc.property(fc.string({ unit: 'binary' }), (header) => Array.isArray(parseChallenges(header))));
});

test('what is written is read', () => {
  const name = fc.stringMatching(/^[a-z]{1,6}$/).filter((text) => text !== 'scheme');
  fc.assert(
    fc.property(
      fc.array(
        fc.tuple(
          name,
          fc.dictionary(name, fc.string({ unit: 'grapheme-ascii' }), { minKeys: 1, noNullPrototype: true }),
        ),
        { minLength: 1 },
      ),
      (challenges) => {
        const quoted = (value: string): string => `"${value.replaceAll(/["\\]/g, '\\$&')}"`;
        const header = challenges
          .map(([scheme, parameters]) => {
            const list = Object.entries(parameters).map(([key, value]) => `${key}=${quoted(value)}`);
            return `${scheme} ${list.join(', ')}`;
          })
          .join(', ');
        expect(plain(header)).toEqual(challenges.map(([scheme, parameters]) => ({ scheme, ...parameters })));
      },
    ),
  );
});
