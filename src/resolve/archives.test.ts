import { describe, expect, it } from 'vitest';

import { layer } from '../../test/support/resolve.ts';
import type { Release, Repository } from '../catalog/layer.ts';
import { releaseWith } from './archives.ts';
import type { LayerRequest } from './layers.ts';

const RELEASE: Release = {
  suite: 'trixie',
  checkValidUntil: true,
  archives: [
    { name: 'debian', suites: ['trixie'], components: ['main'], keyring: '/debian.gpg' },
    { name: 'debian-security', suites: ['trixie-security'], components: ['main'], keyring: '/debian.gpg' },
  ],
};
const KEY = { fingerprint: 'A'.repeat(40), keyring: '/vendor.gpg' };
const VENDOR: Repository = {
  name: 'vendor',
  url: 'https://example.com/debian{release}/{suite}',
  suite: './',
  components: [],
  key: KEY,
};

function request(name: string, components: string[], repositories: Repository[] = []): LayerRequest {
  const definition = layer('addon', name, []);
  const { install } = definition.definition;
  if (install.debian !== undefined) Object.assign(install.debian, { components, repositories });
  return { name, kind: 'addon', definition, packages: [], below: ['base'] };
}

describe('releaseWith', () => {
  it('leaves the release alone when no layer adds to it', () => {
    expect(releaseWith(RELEASE, '13', [request('a', [])], 'amd64')).toBe(RELEASE);
  });

  it('adds components to every archive of the base, in the same order whatever the layers’', () => {
    const layers = [request('a', ['non-free', 'main']), request('b', ['contrib'])];
    for (const order of [layers, layers.toReversed()]) {
      expect(releaseWith(RELEASE, '13', order, 'arm64').archives.map(({ components }) => components)).toEqual(
        [
          ['main', 'contrib', 'non-free'],
          ['main', 'contrib', 'non-free'],
        ],
      );
    }
  });

  it('adds a repository once, with its address for the release', () => {
    const layers = [request('a', [], [VENDOR]), request('b', [], [VENDOR])];
    expect(releaseWith(RELEASE, '13', layers, 'amd64').archives.slice(2)).toEqual([
      {
        name: 'vendor',
        url: 'https://example.com/debian13/trixie',
        suites: ['./'],
        components: [],
        ...KEY,
      },
    ]);
  });

  it.each([
    ['amd64', undefined, 'amd64'],
    ['arm64', undefined, 'arm64'],
    ['arm64', { amd64: 'x86_64', arm64: 'sbsa' }, 'sbsa'],
    ['amd64', { arm64: 'sbsa' }, 'amd64'],
  ] as const)('names %s in an address with %j', (architecture, architectures, named) => {
    const repository: Repository = {
      ...VENDOR,
      url: 'https://example.com/deb/{arch}',
      ...(architectures !== undefined && { architectures }),
    };
    const layers = [request('a', [], [repository])];
    const { archives } = releaseWith(RELEASE, '13', layers, architecture);
    expect(archives.at(-1)).toMatchObject({ url: `https://example.com/deb/${named}` });
  });

  it.each([
    ['another address', { ...VENDOR, url: 'https://example.org' }],
    ['another key', { ...VENDOR, key: { ...KEY, fingerprint: 'B'.repeat(40) } }],
    ['the name of an archive of the base', { ...VENDOR, name: 'debian' }],
  ])('refuses %s under the same name', (_what, other) => {
    const layers = [request('a', [], [VENDOR]), request('b', [], [other])];
    expect(() => releaseWith(RELEASE, '13', layers, 'amd64')).toThrow(
      expect.objectContaining({ code: 'CATALOG_INVALID' }),
    );
  });
});
