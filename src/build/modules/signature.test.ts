import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { run } from '../../proc/run.ts';
import { moduleSigner, signWith, type ModuleSigner } from './signature.ts';

const MAGIC = '~Module signature appended~\n';
let folder: string;
let signer: ModuleSigner;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot-signature-'));
  const request = ['-newkey', 'rsa:2048', '-noenc', '-days', '2', '-subj', '/O=Tests/CN=Module key of a test'];
  await run(['openssl', 'req', '-x509', ...request, '-keyout', at('key.pem'), '-out', at('cert.pem')]);
  const [key, certificate] = [await readFile(at('key.pem')), await readFile(at('cert.pem'))];
  signer = moduleSigner(signWith(createPrivateKey(key)), new X509Certificate(certificate));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

const at = (name: string): string => join(folder, name);

/** Takes a signed file apart as the kernel does, from its end. */
function split(signed: Buffer): { readonly content: Buffer; readonly trailer: Buffer; readonly signature: Buffer } {
  expect(signed.subarray(-MAGIC.length).toString()).toBe(MAGIC);
  const end = signed.length - MAGIC.length - 12;
  const trailer = signed.subarray(end, end + 12);
  const length = trailer.readUInt32BE(8);
  return { content: signed.subarray(0, end - length), trailer, signature: signed.subarray(end - length, end) };
}

describe('a signed module', () => {
  const module = Buffer.from('\x7fELF and so on');

  it('is the module, a signature that OpenSSL finds good, and the kernel’s trailer', async () => {
    const { content, trailer, signature } = split(await signer.sign(module));
    expect(content.equals(module)).toBe(true);
    expect(trailer.subarray(0, 8).toString('hex')).toBe('0000020000000000');
    await writeFile(at('module'), module);
    await writeFile(at('signature.der'), signature);
    const verify = [
      ...['cms', '-verify', '-binary', '-inform', 'DER', '-in', at('signature.der'), '-content', at('module')],
      ...['-certfile', at('cert.pem'), '-CAfile', at('cert.pem'), '-purpose', 'any', '-out', '/dev/null'],
    ];
    expect((await run(['openssl', ...verify])).stderr).toMatch(/verification successful/i);
    await writeFile(at('module'), Buffer.concat([module, Buffer.from('!')]));
    await expect(run(['openssl', ...verify])).rejects.toMatchObject({ code: 'TOOL_FAILED' });
  });

  it('has the very bytes that OpenSSL writes as the kernel asks it to', async () => {
    await writeFile(at('module'), module);
    await run([
      ...['openssl', 'cms', '-sign', '-binary', '-noattr', '-nocerts', '-nosmimecap', '-md', 'sha256'],
      ...['-in', at('module'), '-signer', at('cert.pem'), '-inkey', at('key.pem')],
      ...['-outform', 'DER', '-out', at('openssl.der')],
    ] as [string, ...string[]]);
    const { signature } = split(await signer.sign(module));
    expect(signature.toString('hex')).toBe((await readFile(at('openssl.der'))).toString('hex'));
  });

  it('is the same when it is signed again', async () => {
    expect((await signer.sign(module)).equals(await signer.sign(module))).toBe(true);
  });
});
