import { describe, expect, test } from 'vitest';

import type { IndexTarget } from '../tools/apt.ts';
import { mirrorsFrom, siblingArchive } from './mirror.ts';

function target(uri: string, overrides: Partial<IndexTarget> = {}): IndexTarget {
  return { uri, release: 'trixie', label: '', component: 'main', file: '/lists/x', ...overrides };
}

describe('the machine’s own configuration', () => {
  const foreign = [
    target('https://packages.cloud.example/apt/', { release: 'cloud-sdk-bookworm' }),
    target('https://download.docker.example/linux/debian/', { component: 'stable', label: 'Docker CE' }),
    target('https://other.example/debian/', { label: 'Other' }),
    target('cdrom://[Debian]/debian/'),
  ];

  test('before the first update: by path', () => {
    const mirrors = mirrorsFrom({}, [
      ...foreign,
      target('http://mirror.example/debian-security/', { release: 'bookworm-security' }),
      target('http://mirror.example/debian/'),
    ]);
    expect(mirrors.urlOf('debian')).toBe('http://mirror.example/debian');
    expect(mirrors.urlOf('debian-security')).toBe('http://mirror.example/debian-security');
  });

  test('afterwards: by label, wherever it lies', () => {
    const mirrors = mirrorsFrom({}, [
      ...foreign,
      target('https://mirror.example/pub/Linux/', { label: 'Debian' }),
      target('https://security.example/', { label: 'Debian-Security', release: 'trixie-security' }),
    ]);
    expect(mirrors.urlOf('debian')).toBe('https://mirror.example/pub/Linux');
    expect(mirrors.urlOf('debian-security')).toBe('https://security.example');
  });

  test('without one: Debian’s public address', () => {
    const mirrors = mirrorsFrom({}, foreign);
    expect(mirrors.urlOf('debian')).toBe('http://deb.debian.org/debian');
    expect(mirrors.urlOf('debian-security')).toBe('http://deb.debian.org/debian-security');
  });
});

describe('the environment', () => {
  const machine = [target('http://machine.example/debian/')];

  test('comes first', () => {
    const mirrors = mirrorsFrom({ INGOT_MIRROR: 'https://own.example/debian/' }, machine);
    expect(mirrors.urlOf('debian')).toBe('https://own.example/debian');
    expect(mirrors.urlOf('debian-security')).toBe('https://own.example/debian-security');
    expect(mirrorsFrom({ INGOT_MIRROR: '' }, machine).urlOf('debian')).toBe('http://machine.example/debian');
  });

  test('may name the security archive alone', () => {
    const mirrors = mirrorsFrom({ INGOT_SECURITY_MIRROR: 'https://sec.example/s' }, machine);
    expect(mirrors.urlOf('debian')).toBe('http://machine.example/debian');
    expect(mirrors.urlOf('debian-security')).toBe('https://sec.example/s');
  });

  test.each([
    { INGOT_MIRROR: 'deb.debian.org/debian' },
    { INGOT_MIRROR: 'ftp://user:secret@x.example/debian' },
    { INGOT_SECURITY_MIRROR: 'nonsense' },
    { INGOT_SNAPSHOT: 'https://snapshot.example/debian/{timestamp}' },
    { INGOT_SNAPSHOT: '{archive}/{timestamp}' },
  ])('is refused, without repeating it, when it is no address: %j', (env) => {
    const [name = '', value = ''] = Object.entries(env)[0] ?? [];
    expect(() => mirrorsFrom(env, [])).toThrow(expect.objectContaining({ code: 'ENVIRONMENT' }));
    expect(() => mirrorsFrom(env, [])).toThrow(name);
    expect(() => mirrorsFrom(env, [])).not.toThrow(value);
  });

  test('a snapshot template is filled with archive and time', () => {
    const env = { INGOT_SNAPSHOT: 'https://snapshot.example/archive/{archive}/{timestamp}/' };
    const time = new Date('2025-11-22T10:20:30.400Z');
    expect(mirrorsFrom(env, []).snapshotOf('debian-security', time)).toBe(
      'https://snapshot.example/archive/debian-security/20251122T102030Z',
    );
    expect(mirrorsFrom({}, []).snapshotOf('debian', time)).toBeUndefined();
  });

  test('proxies: the environment’s over apt’s', () => {
    const apt = { http_proxy: 'http://apt.example:1', https_proxy: 'http://apt.example:2' };
    expect(mirrorsFrom({ HTTP_PROXY: 'http://env.example:3' }, [], apt).proxies).toEqual({
      http_proxy: 'http://env.example:3',
      https_proxy: 'http://apt.example:2',
    });
  });
});

test.each([
  ['http://m.example/debian', 'http://m.example/debian-security'],
  [
    'http://m.example/archive/debian/20250101T000000Z',
    'http://m.example/archive/debian-security/20250101T000000Z',
  ],
  ['http://debian/debian', 'http://debian/debian-security'],
  ['http://debian/x', 'http://debian/x-security'],
  ['http://m.example/pub', 'http://m.example/pub-security'],
])('beside %s lies %s', (main, security) => {
  expect(siblingArchive(main, 'debian-security')).toBe(security);
});
