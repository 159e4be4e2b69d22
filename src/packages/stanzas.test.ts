import { expect, test } from 'vitest';

import { parseStanza, parseStanzas } from './stanzas.ts';

test('fields of one line and of several', () => {
  const stanza = parseStanza(
    'Package: a\nDepends: b,\n c\nDescription: first\n second\n .\n third\n# comment\n',
  );
  expect([...stanza]).toEqual([
    ['package', 'a'],
    ['depends', 'b,\nc'],
    ['description', 'first\nsecond\n.\nthird'],
  ]);
});

test('several stanzas, however many blank lines are between them', () => {
  expect(parseStanzas('\nA: 1\n\n \n\nA: 2\nB: 3\n\n').map((stanza) => stanza.get('a'))).toEqual(['1', '2']);
});
