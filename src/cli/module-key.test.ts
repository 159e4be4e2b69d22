import { closeSync, fstatSync, openSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { run } from '../proc/run.ts';
import { loadModuleSigner } from './module-key.ts';

let folder: string;
const at = (name: string): string => join(folder, name);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot-key-'));
  for (const name of ['one', 'other']) {
    const request = ['-newkey', 'rsa:2048', '-noenc', '-days', '2', '-subj', `/CN=${name}`];
    await run([
      'openssl',
      'req',
      '-x509',
      ...request,
      '-keyout',
      at(`${name}.key`),
      '-out',
      at(`${name}.pem`),
    ]);
  }
  await run(['openssl', 'x509', '-in', at('one.pem'), '-outform', 'DER', '-out', at('one.der')]);
  await writeFile(at('passphrase'), 'open sesame\n');
  await run([
    ...['openssl', 'pkcs8', '-topk8', '-in', at('one.key'), '-out', at('locked.key')],
    ...['-passout', `file:${at('passphrase')}`],
  ] as [string, ...string[]]);
  await run(['openssl', 'genpkey', '-algorithm', 'ed25519', '-out', at('ed.key')]);
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

const context = (): Parameters<typeof loadModuleSigner>[0] => ({
  cwd: folder,
  env: {},
  signal: new AbortController().signal,
});
const open = (name: string): string => String(openSync(at(name), 'r'));

async function refusal(options: Parameters<typeof loadModuleSigner>[1]): Promise<string> {
  const error: unknown = await loadModuleSigner(context(), options).catch((reason: unknown) => reason);
  expect(error).toMatchObject({ code: 'USAGE' });
  return error instanceof Error ? error.message : '';
}

describe('a key for modules', () => {
  it('is read from its descriptor, which is then closed', async () => {
    const moduleKey = open('one.key');
    const signer = await loadModuleSigner(context(), { moduleKey, moduleCertificate: 'one.pem' });
    expect((await signer?.sign(Buffer.from('x')))?.length).toBeGreaterThan(256);
    expect(() => fstatSync(Number(moduleKey))).toThrow('EBADF');
    const same = await loadModuleSigner(context(), {
      moduleKey: open('one.key'),
      moduleCertificate: 'one.der',
    });
    expect(same?.fingerprint).toBe(signer?.fingerprint);
  });

  it('may have a passphrase, which comes through another one', async () => {
    const options = { moduleCertificate: 'one.pem', moduleKeyPassphrase: open('passphrase') };
    await expect(
      loadModuleSigner(context(), { ...options, moduleKey: open('locked.key') }),
    ).resolves.toBeDefined();
    expect(await refusal({ moduleKey: open('locked.key'), moduleCertificate: 'one.pem' })).toContain(
      'has a passphrase',
    );
    await writeFile(at('wrong'), 'guess\n');
    const wrong = { moduleKey: open('locked.key'), moduleKeyPassphrase: open('wrong') };
    const message = await refusal({ ...wrong, moduleCertificate: 'one.pem' });
    expect(message).toContain('wrong passphrase');
    expect(message).not.toContain('guess');
  });

  it('is not asked for where nothing is to be signed', async () => {
    expect(await loadModuleSigner(context(), {})).toBeUndefined();
  });

  it.each([
    ['without its certificate', () => ({ moduleKey: open('one.key') }), 'takes both'],
    ['that is missing', () => ({ moduleCertificate: 'one.pem' }), 'takes both'],
    [
      'of another certificate',
      () => ({ moduleKey: open('other.key'), moduleCertificate: 'one.pem' }),
      'not the certificate',
    ],
    ['that is none', () => ({ moduleKey: open('one.pem'), moduleCertificate: 'one.pem' }), 'no private key'],
    ['of another kind', () => ({ moduleKey: open('ed.key'), moduleCertificate: 'one.pem' }), 'ed25519'],
    [
      'by a path',
      () => ({ moduleKey: 'one.key', moduleCertificate: 'one.pem' }),
      'the number of a file descriptor',
    ],
    ['on standard output', () => ({ moduleKey: '1', moduleCertificate: 'one.pem' }), 'from 3 on'],
    [
      'whose certificate is none',
      () => ({ moduleKey: open('one.key'), moduleCertificate: 'one.key' }),
      'no certificate',
    ],
    [
      'whose certificate is gone',
      () => ({ moduleKey: open('one.key'), moduleCertificate: 'gone' }),
      'ENOENT',
    ],
  ])('%s is refused', async (_what, options, expected) => {
    expect(await refusal(options())).toContain(expected);
  });

  it('in a descriptor that is not open is refused', async () => {
    const moduleKey = open('one.key');
    closeSync(Number(moduleKey));
    expect(await refusal({ moduleKey, moduleCertificate: 'one.pem' })).toContain('not open for reading');
  });
});
