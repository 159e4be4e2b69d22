import { expect, it } from 'vitest';

import { parseAptSources } from './apt-sources.ts';

const PLAIN = { signedBy: undefined, trusted: false, checkValidUntil: true };

it('reads what Ubuntu 24.04 has: entries of deb822', () => {
  const text = [
    '# See /etc/apt/sources.list',
    'Types: deb deb-src',
    'URIs: http://archive.ubuntu.com/ubuntu/',
    'Suites: noble noble-updates',
    'Components: main universe',
    'Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg',
    '',
    'Enabled: no',
    'Types: deb',
    'URIs: http://ppa.example.com/',
    'Suites: noble',
    '',
    'Types: deb-src',
    'URIs: http://archive.ubuntu.com/ubuntu/',
    'Suites: noble',
    'Components: main',
    '',
  ].join('\n');
  expect(parseAptSources('etc/apt/sources.list.d/ubuntu.sources', text, 'amd64')).toEqual([
    {
      ...PLAIN,
      uri: 'http://archive.ubuntu.com/ubuntu',
      suites: ['noble', 'noble-updates'],
      components: ['main', 'universe'],
      signedBy: '/usr/share/keyrings/ubuntu-archive-keyring.gpg',
    },
  ]);
});

it('reads what Ubuntu 22.04 has: an entry in a line, with options or without', () => {
  const text = [
    'deb http://archive.ubuntu.com/ubuntu jammy main restricted # the release',
    '# deb http://archive.ubuntu.com/ubuntu jammy universe',
    'deb-src http://archive.ubuntu.com/ubuntu jammy main',
    'deb [arch=amd64,i386 signed-by=/etc/apt/keyrings/x.gpg] https://x.example.com/$(ARCH)/ ./',
    'deb [ arch=arm64 ] https://y.example.com stable main',
    'deb [trusted=yes check-valid-until=no] file:/srv/debs stable main',
  ].join('\n');
  expect(parseAptSources('etc/apt/sources.list', text, 'amd64')).toEqual([
    {
      ...PLAIN,
      uri: 'http://archive.ubuntu.com/ubuntu',
      suites: ['jammy'],
      components: ['main', 'restricted'],
    },
    {
      ...PLAIN,
      uri: 'https://x.example.com/amd64',
      suites: ['./'],
      components: [],
      signedBy: '/etc/apt/keyrings/x.gpg',
    },
    {
      ...PLAIN,
      uri: 'file:/srv/debs',
      suites: ['stable'],
      components: ['main'],
      trusted: true,
      checkValidUntil: false,
    },
  ]);
});

it('takes every address of an entry that has several, and a key that stands in it', () => {
  const text = [
    'Types: deb',
    'URIs: http://a.example.com http://b.example.com',
    'Suites: stable',
    'Components: main',
    'Signed-By:',
    ' -----BEGIN PGP PUBLIC KEY BLOCK-----',
    ' .',
    ' mQ==',
    ' -----END PGP PUBLIC KEY BLOCK-----',
    '',
  ].join('\n');
  const found = parseAptSources('x.sources', text, 'amd64');
  expect(found.map(({ uri }) => uri)).toEqual(['http://a.example.com', 'http://b.example.com']);
  expect(found[0]?.signedBy).toMatch(/^-----BEGIN PGP/);
});
