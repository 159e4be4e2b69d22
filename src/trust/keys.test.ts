/** Key files: ours, cosign's and OpenSSL's; what is none of them says nothing of what it holds. */
import fc from 'fast-check';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import { beforeAll, describe, expect, test } from 'vitest';

import { IngotError } from '../errors.ts';
import { run } from '../proc/run.ts';
import { type KeyPair, makeKeyPair, parsePrivateKey, sealPrivateKey } from './private-key.ts';
import { hintOf, parsePublicKey, renderPublicKey } from './public-key.ts';

/** Made by cosign 3.1.1 for this test, with the password `pw`. */
const COSIGN_KEY = `-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----
eyJrZGYiOnsibmFtZSI6InNjcnlwdCIsInBhcmFtcyI6eyJOIjo2NTUzNiwiciI6
OCwicCI6MX0sInNhbHQiOiJtdkxSSU00TlNsTk92UXV3SENVSG5nTUFKWWNCMzFI
QUduVk9Fd2JtY1M4PSJ9LCJjaXBoZXIiOnsibmFtZSI6Im5hY2wvc2VjcmV0Ym94
Iiwibm9uY2UiOiJKbjdmQ1ByUHFvUnZMWHgzWS9QTytHaWZqa0J4MXFnRiJ9LCJj
aXBoZXJ0ZXh0IjoiS2tHaUN6SDFCTzQrQ2VNbUZLWlgwNkpMeUdhZFk5Wjdnd0k5
TVU5K2U2WE9zVlZ5d1NBb0RsMkVnUmJ3eXdzTTBFL01ScGdHUTBzSHlwczVrQzA3
bi9adjVCUS9BenpkcUhXMmVjNnViT3JINkYrU2xmSldSWVIyMUplQnNGZ3hNWE1C
LzBTWmcwbUZxaUNSRVY4amVNNFBKRWJLTktpNkZpTEdRbDhhcXlUemxIVG84MUc4
ZFJLUHMrOGdWcVYvR1kwWmlSSlJwK25PZXc9PSJ9
-----END ENCRYPTED SIGSTORE PRIVATE KEY-----
`;
const COSIGN_PUB = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEUep3nz37rtNww2BzYtFafwZKxsKS
hJKFG6XW68WKno48tf23B9Qh9S54TenTu3x0fY1cpGpFT8cz6VaFZ7OK3g==
-----END PUBLIC KEY-----
`;

let ours: KeyPair;
beforeAll(() => {
  ours = makeKeyPair('correct horse', randomBytes);
});

describe('a private key', () => {
  test('of cosign’s is read, and is that of its public half', () => {
    const { publicKey } = parsePrivateKey(COSIGN_KEY, 'pw', 'cosign.key');
    expect(renderPublicKey(publicKey)).toBe(COSIGN_PUB);
    expect(hintOf(publicKey)).toBe('eQytJO+5ItQAFKqZ8XY3NTNOU+My9X8pXKD+vsUjfqE=');
  });

  test('of ours has the form of cosign’s, under either label', () => {
    expect(ours.privateKey).toMatch(
      /^-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n(?:[\w+/=]{1,64}\n)+-----END /,
    );
    const older = ours.privateKey.replaceAll('SIGSTORE', 'COSIGN');
    for (const pem of [ours.privateKey, older]) {
      const { publicKey } = parsePrivateKey(pem, 'correct horse', 'x');
      expect(renderPublicKey(publicKey)).toBe(ours.publicKey);
    }
  });

  test.each([
    ['PKCS#8', ['openssl', 'genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256']],
    ['SEC 1', ['openssl', 'ecparam', '-name', 'prime256v1', '-genkey', '-noout']],
    [
      'PKCS#8 under a password',
      [
        'openssl',
        'genpkey',
        '-algorithm',
        'EC',
        '-pkeyopt',
        'ec_paramgen_curve:P-256',
        '-aes-256-cbc',
        '-pass',
        'pass:pw',
      ],
    ],
  ] as const)('in %s is read', async (_name, argv) => {
    const { stdout } = await run(argv);
    expect(parsePrivateKey(stdout, 'pw', 'x').publicKey.fingerprint).toMatch(/^sha256:/);
  });

  const pem = (kind: 'pkcs8' | 'spki', name: 'P-384' | 'secp256k1'): string => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: name });
    return (
      kind === 'pkcs8'
        ? privateKey.export({ type: kind, format: 'pem' })
        : publicKey.export({ type: 'spki', format: 'pem' })
    ).toString();
  };
  const ed25519 = generateKeyPairSync('ed25519').privateKey;

  test.each<readonly [string, () => string, string | undefined, RegExp]>([
    ['a wrong password', () => ours.privateKey, 'battery staple', /password of x is wrong/],
    ['no password', () => ours.privateKey, undefined, /takes a password/],
    ['an empty password', () => ours.privateKey, '', /password of x is wrong/],
    [
      'half a file',
      () => `${ours.privateKey.slice(0, 300)}\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n`,
      'correct horse',
      /damaged/,
    ],
    ['P-384', () => pem('pkcs8', 'P-384'), undefined, /EC on the curve secp384r1.*P-256/],
    ['secp256k1', () => pem('pkcs8', 'secp256k1'), undefined, /secp256k1/],
    ['Ed25519', () => ed25519.export({ type: 'pkcs8', format: 'pem' }).toString(), undefined, /ed25519/],
    ['Ed25519 in cosign’s form', () => sealPrivateKey(ed25519, 'pw', randomBytes), 'pw', /ed25519/],
    ['a public key', () => COSIGN_PUB, undefined, /no private key/],
    ['text', () => 'hunter2', undefined, /no private key/],
    ['parameters that take all memory', () => withParameters({ N: 2 ** 30, r: 8, p: 1 }), 'pw', /damaged/],
    ['parameters that take all day', () => withParameters({ N: 2 ** 16, r: 8, p: 4096 }), 'pw', /damaged/],
  ])('refuses %s, and tells nothing of it', (_name, text, password, message) => {
    const error = failure(() => parsePrivateKey(text(), password, 'x'));
    expect(error).toMatchObject({ code: 'USAGE', message: expect.stringMatching(message) as string });
    for (const secret of ['hunter2', 'battery staple', text().split('\n')[1] ?? 'hunter2']) {
      expect(inspect(error)).not.toContain(secret);
    }
  });

  function withParameters(params: object): string {
    const body = ours.privateKey.split('\n').slice(1, -2).join('');
    const sealed = JSON.parse(Buffer.from(body, 'base64').toString()) as { kdf: object };
    const changed = { ...sealed, kdf: { ...sealed.kdf, params } };
    return ours.privateKey.replace(
      /-\n[^-]+\n-/,
      `-\n${Buffer.from(JSON.stringify(changed)).toString('base64')}\n-`,
    );
  }

  test('is read or refused, whatever is in the file', () => {
    const body = (text: string): string =>
      `-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n${text}\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n`;
    const any = fc.oneof(
      fc.string(),
      fc.base64String(),
      fc.json().map((json) => Buffer.from(json).toString('base64')),
    );
    fc.assert(
      fc.property(any, fc.boolean(), (text, isWrapped) => {
        expect(failure(() => parsePrivateKey(isWrapped ? body(text) : text, 'pw', 'x')).code).toBe('USAGE');
      }),
    );
  });
});

describe('a public key is not', () => {
  test.each<readonly [string, () => string, RegExp]>([
    [
      'a private one',
      () =>
        generateKeyPairSync('ec', { namedCurve: 'P-256' })
          .privateKey.export({ type: 'pkcs8', format: 'pem' })
          .toString(),
      /is a private key/,
    ],
    [
      'RSA',
      () =>
        generateKeyPairSync('rsa', { modulusLength: 2048 })
          .publicKey.export({ type: 'spki', format: 'pem' })
          .toString(),
      /kind rsa/,
    ],
    [
      'P-384',
      () =>
        generateKeyPairSync('ec', { namedCurve: 'P-384' })
          .publicKey.export({ type: 'spki', format: 'pem' })
          .toString(),
      /secp384r1/,
    ],
    ['half of one', () => COSIGN_PUB.slice(0, 100), /no public key/],
    ['text', () => 'ssh-ed25519 AAAA', /no public key/],
  ])('%s', (_name, text, message) => {
    expect(failure(() => parsePublicKey(text(), 'x'))).toMatchObject({
      code: 'USAGE',
      message: expect.stringMatching(message) as string,
    });
  });
});

function failure(act: () => unknown): IngotError {
  try {
    act();
  } catch (error) {
    if (error instanceof IngotError) return error;
    throw error;
  }
  throw new Error('it is taken');
}
