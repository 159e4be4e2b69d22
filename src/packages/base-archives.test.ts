import { expect, it } from 'vitest';

import { armourKeyring } from '../tools/apt.ts';
import { archivesOfImage, type AptConfiguration } from './base-archives.ts';
import { keyFingerprints } from './keyring.ts';

/** A public key packet of version 4, which no two numbers share. */
function keyring(...numbers: readonly number[]): string {
  const packets = numbers.map((number) => {
    const body = Buffer.concat([Buffer.from([4, 0x65, 0, 0, number, 1]), Buffer.alloc(8, number)]);
    return Buffer.concat([Buffer.from([0x80 | (6 << 2) | 1, 0, body.length]), body]);
  });
  return armourKeyring(Buffer.concat(packets));
}

const fingerprintsOf = (keys = ''): string[] => keyFingerprints(Buffer.from(keys));
const CONTEXT = { reference: 'registry.example.com/ubuntu:24.04', architecture: 'amd64' };

function archives(
  sources: AptConfiguration['sources'],
  keyrings: AptConfiguration['keyrings'] = {},
): ReturnType<typeof archivesOfImage> {
  return archivesOfImage({ sources, keyrings }, CONTEXT);
}

const UBUNTU = `Types: deb
URIs: http://archive.ubuntu.com/ubuntu/
Suites: noble noble-updates
Components: main universe
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg

Types: deb
URIs: http://security.ubuntu.com/ubuntu/
Suites: noble-security
Components: main universe
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg
`;

it('names archives for their places, each with the key that it names', () => {
  const found = archives(
    { 'etc/apt/sources.list.d/ubuntu.sources': UBUNTU },
    {
      'usr/share/keyrings/ubuntu-archive-keyring.gpg': keyring(1),
      'etc/apt/trusted.gpg.d/x.gpg': keyring(2),
    },
  );
  expect(found).toMatchObject([
    {
      name: 'archive.ubuntu.com/ubuntu',
      url: 'http://archive.ubuntu.com/ubuntu',
      suites: ['noble', 'noble-updates'],
      components: ['main', 'universe'],
      isOfBase: true,
    },
    { name: 'security.ubuntu.com/ubuntu', suites: ['noble-security'] },
  ]);
  expect(fingerprintsOf(found[0]?.keys)).toEqual(fingerprintsOf(keyring(1)));
});

it('takes lines of one place and its keys together, and tells others of that place apart', () => {
  const lines = [
    'deb http://archive.ubuntu.com/ubuntu jammy main',
    'deb http://archive.ubuntu.com/ubuntu jammy-updates main',
    'deb http://archive.ubuntu.com/ubuntu jammy universe',
    'deb http://archive.ubuntu.com/ubuntu jammy-updates multiverse',
  ];
  const trusted = {
    'etc/apt/trusted.gpg.d/a.gpg': keyring(1),
    'etc/apt/trusted.gpg.d/b.gpg': keyring(2),
    'usr/share/keyrings/not-trusted.gpg': keyring(3),
  };
  const found = archives({ 'etc/apt/sources.list': lines.join('\n') }, trusted);
  expect(found.map(({ name, suites }) => [name, suites])).toEqual([
    ['archive.ubuntu.com/ubuntu', ['jammy', 'jammy-updates']],
    ['archive.ubuntu.com/ubuntu jammy', ['jammy']],
    ['archive.ubuntu.com/ubuntu jammy-updates', ['jammy-updates']],
  ]);
  // Whoever names no key is trusted by all that the machine trusts.
  expect(fingerprintsOf(found[0]?.keys)).toEqual(fingerprintsOf(keyring(1, 2)));
});

it.each([
  ['a keyring that is not there', 'deb [signed-by=/etc/apt/keyrings/x.gpg] http://x y z', 'MIRROR_UNTRUSTED'],
  ['a fingerprint alone', `deb [signed-by=${'A'.repeat(40)}] http://x y z`, 'MIRROR_UNTRUSTED'],
  ['no key at all', 'deb http://x y z', 'MIRROR_UNTRUSTED'],
  ['trust without a key', 'deb [trusted=yes] http://x y z', 'MIRROR_UNTRUSTED'],
  ['a list of mirrors', 'deb mirror+file:/etc/apt/mirrors y z', 'MIRROR_UNREACHABLE'],
  ['a disc', 'deb cdrom:[Ubuntu]/ y z', 'MIRROR_UNREACHABLE'],
])('refuses %s', (_what, line, code) => {
  expect(() => archives({ 'etc/apt/sources.list': line })).toThrow(
    expect.objectContaining({ code }) as Error,
  );
});

it('refuses a password in an address, and does not show it', () => {
  const line = 'deb https://me:secret@x.example.com/debs y z';
  const look = (): unknown => archives({ 'etc/apt/sources.list': line });
  expect(look).toThrow('https://x.example.com/debs cannot be used: a password');
  expect(look).not.toThrow('secret');
});

it('reads a key that stands in the entry itself', () => {
  const key = keyring(7)
    .trimEnd()
    .split('\n')
    .map((line) => (line === '' ? ' .' : ` ${line}`));
  const text = ['Types: deb', 'URIs: http://x', 'Suites: y', 'Components: z', 'Signed-By:', ...key, ''];
  const [found] = archives({ 'etc/apt/sources.list.d/x.sources': text.join('\n') });
  expect(fingerprintsOf(found?.keys)).toEqual(fingerprintsOf(keyring(7)));
});
