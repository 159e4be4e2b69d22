import fc from 'fast-check';
import { expect, test } from 'vitest';

import { PackageIndex, sourceOfText } from './package-index.ts';
import { parseStanzas } from './stanzas.ts';

const INDEX = `Package: base-files
Version: 13.8
Essential: yes
Description: files
 more text: not a field
 .
 Package: not one either

Package: postfix
Version: 3.10-1
Provides: mail-transport-agent, default-mta (= 1)

Package: exim4
Version: 4.98-1
Provides: mail-transport-agent
`;

test('an index finds stanzas by name and version', () => {
  const security =
    'Package: postfix\nVersion: 3.10-1+deb13u1\n\nPackage: postfix\nVersion: 3.10-1\nOf: security\n';
  const index = new PackageIndex([sourceOfText('debian', INDEX), sourceOfText('debian-security', security)]);
  expect([...index.names()]).toEqual(['base-files', 'exim4', 'postfix']);
  expect(index.versions('postfix')).toEqual(['3.10-1+deb13u1', '3.10-1']);
  expect(index.find('postfix', '3.10-1')?.archive).toBe('debian');
  expect(index.find('postfix', '3.10-1+deb13u1')?.archive).toBe('debian-security');
  expect(index.find('postfix', '9')).toBeUndefined();
  expect([
    index.has('exim4'),
    index.has('exim4', '4.98-1'),
    index.has('exim4', '1'),
    index.has('exim'),
  ]).toEqual([true, true, false, false]);
  expect(index.essentialNames()).toEqual(['base-files']);
});

test('providers, by whole names', () => {
  const sources = [sourceOfText('debian', INDEX)];
  const fresh = new PackageIndex(sources);
  // As it is found again.
  const index = new PackageIndex(sources, fresh.table);
  expect([...index.names()]).toEqual([...fresh.names()]);
  expect(index.providersOf('mail-transport-agent')).toEqual(['exim4', 'postfix']);
  expect(index.providersOf('default-mta')).toEqual(['postfix']);
  expect(index.providersOf('mail-transport')).toEqual([]);
  expect(index.providersOf('default.mta')).toEqual([]);
});

test('an index agrees with a plain parser of the same text', () => {
  const word = fc.stringMatching(/^[a-z][a-z0-9.+-]{1,6}$/);
  const stanza = fc.record({ name: word, version: fc.stringMatching(/^\d[0-9.]{0,3}$/), note: word });
  fc.assert(
    fc.property(fc.uniqueArray(stanza, { selector: ({ name }) => name, maxLength: 8 }), (stanzas) => {
      const text = stanzas
        .map(({ name, version, note }) => `Package: ${name}\nNote: ${note}\nVersion: ${version}\n`)
        .join('\n');
      const index = new PackageIndex([sourceOfText('a', text)]);
      const plain = parseStanzas(text);
      expect([...index.names()]).toEqual(plain.map((fields) => fields.get('package')).sort());
      for (const { name, version, note } of stanzas) {
        expect(index.find(name, version)?.stanza.get('note')).toBe(note);
      }
    }),
  );
});
