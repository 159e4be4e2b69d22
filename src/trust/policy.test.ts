import fc from 'fast-check';
import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, test } from 'vitest';

import { FindingsError, IngotError } from '../errors.ts';
import { parseTrustPolicy, type TrustPolicy, type Verdict, verdictFor } from './policy.ts';

const pem = (): string =>
  generateKeyPairSync('ec', { namedCurve: 'P-256' })
    .publicKey.export({ type: 'spki', format: 'pem' })
    .toString();
const files: Readonly<Record<string, string>> = {
  'project/keys/one.pub': pem(),
  'project/rsa.pub': generateKeyPairSync('rsa', { modulusLength: 2048 })
    .publicKey.export({ type: 'spki', format: 'pem' })
    .toString(),
};

function parse(text: string): Promise<TrustPolicy> {
  return parseTrustPolicy(text, 'project/trust.yaml', {
    readKey: (path) =>
      files[path] === undefined
        ? Promise.reject(new IngotError('USAGE', `${path} cannot be read (ENOENT)`))
        : Promise.resolve(files[path]),
  });
}

async function problems(text: string): Promise<readonly string[]> {
  const error: unknown = await parse(text).catch((caught: unknown) => caught);
  if (!(error instanceof FindingsError)) throw new Error('it is taken');
  return error.findings.map(({ code, location, message }) => {
    expect(code).toBe('TRUST_INVALID');
    return `${location?.line ?? 0}:${location?.column ?? 0} ${message}`;
  });
}

const TEXT = `
repositories:
  registry.example.com/ai/node:
    keys: [keys/one.pub]
    signedAs: origin.example.com/ai/node
    attestations: [slsaprovenance1, https://example.com/other]
  registry.example.com/ai/*: reject
  registry.example.com/*: accept
  localhost:5000/a:
    keys:
      - |
        ${pem().trimEnd().replaceAll('\n', '\n        ')}
`;

describe('a policy', () => {
  test.each([
    ['registry.example.com/ai/node', 'signed'],
    ['registry.example.com/ai/node/deeper', 'reject'],
    ['registry.example.com/ai/nodes', 'reject'],
    ['registry.example.com/aix', 'accept'],
    ['registry.example.com/a/b/c', 'accept'],
    ['localhost:5000/a', 'signed'],
    ['localhost:5000/a/b', 'reject'],
    ['registry.example.com.evil.org/ai/node', 'reject'],
  ])('says for %s: %s', async (repository, expected) => {
    expect(verdictFor(await parse(TEXT), repository).verdict).toBe(expected);
  });

  test('opens names, keys and places', async () => {
    const found = verdictFor(await parse(TEXT), 'registry.example.com/ai/node');
    expect(found).toMatchObject({
      rule: {
        signedAs: 'origin.example.com/ai/node',
        attestations: ['https://slsa.dev/provenance/v1', 'https://example.com/other'],
        location: { file: 'project/trust.yaml', line: 3, column: 3 },
      },
    });
    expect(found.verdict === 'signed' && found.rule.keys).toHaveLength(1);
  });

  test('rejects what it does not name, unless it says otherwise', async () => {
    expect(verdictFor(await parse('repositories: {}'), 'a.example/b').verdict).toBe('reject');
    expect(verdictFor(await parse('default: accept'), 'a.example/b').verdict).toBe('accept');
  });

  test('has an answer for every repository, and that of the longest pattern', () => {
    const part = fc.stringMatching(/^[a-z]{1,2}$/);
    fc.assert(
      fc.property(
        fc.array(part, { minLength: 1, maxLength: 4 }),
        fc.array(fc.array(part, { maxLength: 4 })),
        (path, patterns) => {
          const repository = ['host.example', ...path].join('/');
          const prefixes = patterns.map((one) => ['host.example', ...one].join('/'));
          const policy: TrustPolicy = {
            file: '',
            default: 'reject',
            rules: new Map<string, Verdict>(
              prefixes.map((prefix) => [
                `${prefix}/*`,
                { verdict: 'accept', location: { file: prefix, line: 1, column: 1 } },
              ]),
            ),
          };
          const covering = prefixes.filter((prefix) => repository.startsWith(`${prefix}/`));
          const longest = covering.sort((a, b) => b.length - a.length)[0];
          const found = verdictFor(policy, repository);
          expect(found.verdict === 'signed' ? '' : found.location?.file).toBe(longest);
        },
      ),
    );
  });
});

describe('a mistake is said with its place', () => {
  test.each([
    [
      'repositories:\n  Node:\n    keys: [keys/one.pub]\n',
      '2:3 the key "Node" in repositories must be a repository',
    ],
    ['repositories:\n  a.example/b*: reject\n', '2:3 the key "a.example/b*" in repositories must be'],
    ['repositories:\n  a.example/b:1.0: reject\n', '2:3 the key "a.example/b:1.0"'],
    ['repositories:\n  a.example/b:\n    key: [x]\n', '3:5 unknown key "key" in repositories.a.example/b'],
    ['repositories:\n  a.example/b:\n    keys: []\n', '3:11 repositories.a.example/b.keys must not be empty'],
    [
      'repositories:\n  a.example/b:\n    keys: [none.pub]\n',
      '3:12 project/none.pub cannot be read (ENOENT)',
    ],
    ['repositories:\n  a.example/b:\n    keys: [rsa.pub]\n', '3:12 rsa.pub is a key of the kind rsa'],
    ['repositories:\n  a.example/b: {keys: ["-----BEGIN x"]}\n', '2:24 the key is no public key in PEM'],
    ['default: maybe\n', '1:10 default must be reject or accept'],
    ['repositories:\n  a.example/b: reject\n  a.example/b: accept\n', '3:3'],
  ])('%j', async (text, expected) => {
    expect((await problems(text)).join('\n')).toContain(expected);
  });

  test('all of them at once', async () => {
    const text =
      'repositories:\n  a.example/b:\n    keys: [none.pub, rsa.pub]\n  a.example/c:\n    keys: [none.pub]\n';
    expect(await problems(text)).toHaveLength(3);
  });
});
