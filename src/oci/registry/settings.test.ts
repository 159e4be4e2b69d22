/** What is read from the files of podman, skopeo and docker, and how long pauses are. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { parseImageReference } from '../reference.ts';
import { entryFor, parseAuthFile } from './credentials.ts';
import { endpointsFor, loadRegistriesConf, parseRegistriesConf } from './registries-conf.ts';
import { backoffMs, parseRetryAfter } from './retry.ts';

describe('auth.json', () => {
  const file = parseAuthFile(
    JSON.stringify({
      auths: {
        'example.com': { auth: 'host' },
        'example.com/ai': { auth: 'path' },
        'https://index.docker.io/v1/': { auth: 'hub' },
      },
    }),
    'auth.json',
  );

  test.each([
    ['example.com', 'other/node', 'host'],
    ['example.com', 'ai/node', 'path'],
    ['example.com', 'airport', 'host'],
    ['docker.io', 'library/debian', 'hub'],
    ['example.com:5000', 'ai/node', undefined],
  ])('%s/%s', (registry, repository, auth) => {
    expect(entryFor(file, registry, repository)?.auth).toBe(auth);
  });

  test('that is damaged is told of without a word of it', () => {
    expect(() => parseAuthFile('{"auths": secret', 'auth.json')).toThrow(
      /^auth\.json is no file of credentials/,
    );
  });
});

describe('registries.conf', () => {
  const conf = parseRegistriesConf(
    `
unqualified-search-registries = ["docker.io"]
[[registry]]
location = "example.com"
[[registry.mirror]]
location = "mirror.local:5000/cache"
insecure = true
[[registry]]
prefix = "example.com/ai"
location = "inner.example.com/models"
[[registry.mirror]]
location = "digests.local"
pull-from-mirror = "digest-only"
[[registry]]
prefix = "*.blocked.com"
blocked = true
`,
    'registries.conf',
  );
  const places = (text: string): readonly string[] =>
    endpointsFor(conf, parseImageReference(text)).map(
      ({ registry, repository }) => `${registry}/${repository}`,
    );
  const digest = `sha256:${'0'.repeat(64)}`;

  test.each([
    ['example.com/node:1', ['mirror.local:5000/cache/node', 'example.com/node']],
    ['example.com/ai/node:1', ['inner.example.com/models/node']],
    [`example.com/ai/node@${digest}`, ['digests.local/node', 'inner.example.com/models/node']],
    ['example.com.evil/node:1', ['example.com.evil/node']],
    ['quay.io/a/b', ['quay.io/a/b']],
  ])('%s', (text, expected) => {
    expect(places(text)).toEqual(expected);
  });

  test('blocks', () => {
    expect(() => places('a.blocked.com/x')).toThrow(/blocks a\.blocked\.com/);
  });

  test('a host counts for more than all hosts of a domain', () => {
    const conf = parseRegistriesConf(
      `[[registry]]
prefix = "*.example.org"
[[registry]]
prefix = "bad.example.org"
blocked = true
`,
      'registries.conf',
    );
    expect(endpointsFor(conf, parseImageReference('good.example.org/x:1'))).toHaveLength(1);
    expect(() => endpointsFor(conf, parseImageReference('bad.example.org/x:1'))).toThrow(/blocks bad/);
  });

  test('a file that is read later takes the place of what it names again', async () => {
    const config = await mkdtemp(join(tmpdir(), 'ingot-conf-'));
    try {
      await mkdir(join(config, 'containers/registries.conf.d'), { recursive: true });
      const one = '[[registry]]\nlocation = "one.example.org"\n';
      await writeFile(join(config, 'containers/registries.conf'), one);
      await writeFile(join(config, 'containers/registries.conf.d/1.conf'), `${one}blocked = true\n`);
      const conf = await loadRegistriesConf({ XDG_CONFIG_HOME: config });
      expect(() => endpointsFor(conf, parseImageReference('one.example.org/x:1'))).toThrow(/blocks one/);
    } finally {
      await rm(config, { recursive: true });
    }
  });

  test('that is wrong is refused with its place', () => {
    expect(() => parseRegistriesConf('[[registry]]\nblocked = 3', 'r.conf')).toThrow(
      /r\.conf.*registry\.0\.blocked/,
    );
  });
});

describe('pauses', () => {
  test('grow, within bounds, and are never shorter than asked for', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 40 }),
        fc.nat(200_000),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (attempt, least, dice) => {
          const ms = backoffMs(attempt, least, () => dice);
          expect(ms).toBeGreaterThanOrEqual(least);
          expect(ms).toBeLessThanOrEqual(Math.max(least, 30_000));
        },
      ),
    );
  });

  test.each([
    ['3', 3000],
    ['Thu, 01 Jan 1970 00:00:10 GMT', 9000],
    ['Thu, 01 Jan 1970 00:00:00 GMT', 0],
    ['soon', undefined],
    [undefined, undefined],
  ])('Retry-After: %s', (header, expected) => {
    expect(parseRetryAfter(header, 1000)).toBe(expected);
  });
});
