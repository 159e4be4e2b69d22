/** Keys for kernel modules in a PKCS#11 token: SoftHSM, openssl and its engine. */
import { execFileSync } from 'node:child_process';
import { existsSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { loadModuleSigner, type ModuleKeyOptions } from '../../src/cli/module-key.ts';
import type { ModuleSigner } from '../../src/build/modules/signature.ts';
import { ingot, PRODUCT_ROOT } from '../support/cli.ts';
import { keyUri, makeSoftToken, PIN, TOKEN_LABEL, type SoftToken } from '../support/soft-token.ts';

let folder: string;
let token: SoftToken;
const at = (name: string): string => join(folder, name);
const openssl = (...args: readonly string[]): void => {
  execFileSync('openssl', args, { stdio: 'pipe' });
};

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ingot-token-'));
  token = makeSoftToken(folder);
  for (const name of ['mok', 'other']) {
    const request = ['-newkey', 'rsa:2048', '-noenc', '-days', '2', '-subj', `/CN=${name}`];
    openssl('req', '-x509', ...request, '-keyout', at(`${name}.key`), '-out', at(`${name}.pem`));
  }
  openssl('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', at('ec.key'));
  openssl('req', '-x509', '-key', at('ec.key'), '-days', '2', '-subj', '/CN=ec', '-out', at('ec.pem'));
  token.importKey(at('mok.key'), 'mok', '01');
  token.importKey(at('ec.key'), 'ec', '02');
  await writeFile(at('pin'), `${PIN}\n`);
  await writeFile(at('wrong'), '00000000\n');
  await writeFile(at('empty'), '\n');
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

interface Given extends ModuleKeyOptions {
  /** Name of the file that the PIN's descriptor reads. */
  readonly pin?: string;
  readonly env?: Readonly<Record<string, string>>;
}

async function load({ pin = 'pin', env, ...options }: Given): Promise<ModuleSigner> {
  const signer = await loadModuleSigner(
    { cwd: folder, env: { ...token.env, ...env }, signal: new AbortController().signal },
    {
      moduleCertificate: 'mok.pem',
      ...(pin !== '' && { moduleKeyPassphrase: String(openSync(at(pin), 'r')) }),
      ...options,
    },
  );
  if (signer === undefined) throw new Error('no signer');
  return signer;
}

async function refusal(given: Given): Promise<string> {
  const error: unknown = await load(given).catch((reason: unknown) => reason);
  expect(error).toMatchObject({ code: 'USAGE' });
  return error instanceof Error ? error.message : '';
}

/** opensc-pkcs11's, in the folder of the machine's architecture. */
const SPY = readdirSync('/usr/lib')
  .map((name) => join('/usr/lib', name, 'pkcs11-spy.so'))
  .find((path) => existsSync(path));

/** The same token, seen through a module that writes down every call. */
async function spied(given: Given): Promise<{ readonly error: unknown; readonly logins: number }> {
  const log = at(`spy-${Math.random()}`);
  const env = { PKCS11SPY: '/usr/lib/softhsm/libsofthsm2.so', PKCS11SPY_OUTPUT: log };
  const moduleKey = `${given.moduleKey ?? ''}?module-path=${SPY ?? ''}`;
  const error: unknown = await load({ ...given, moduleKey, env }).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  const calls = readFileSync(log, 'latin1').split('\n');
  return { error, logins: calls.filter((line) => line.endsWith(': C_Login')).length };
}

describe('a key in a token', () => {
  const module = readFileSync(process.execPath).subarray(0, 1 << 20);

  it('signs as the same key in a file does, bit for bit and every time, and OpenSSL finds it good', async () => {
    const inFile = await loadModuleSigner(
      { cwd: folder, env: {}, signal: new AbortController().signal },
      { moduleKey: String(openSync(at('mok.key'), 'r')), moduleCertificate: 'mok.pem' },
    );
    const wanted = await inFile?.sign(module);
    const signer = await load({ moduleKey: keyUri('mok') });
    expect(signer.fingerprint).toBe(inFile?.fingerprint);
    const signed = await signer.sign(module);
    expect(signed.equals(wanted ?? Buffer.of())).toBe(true);
    expect(signed.equals(await signer.sign(module))).toBe(true);
    const byNumber = await load({ moduleKey: `pkcs11:token=Build%20keys;id=%01` });
    expect(signed.equals(await byNumber.sign(module))).toBe(true);

    await writeFile(at('module'), module);
    await writeFile(at('signature.der'), signed.subarray(module.length, -40));
    const verify = [
      ...[
        'cms',
        '-verify',
        '-binary',
        '-inform',
        'DER',
        '-in',
        at('signature.der'),
        '-content',
        at('module'),
      ],
      ...['-certfile', at('mok.pem'), '-CAfile', at('mok.pem'), '-purpose', 'any', '-out', '/dev/null'],
    ];
    openssl(...verify);
    await writeFile(at('module'), Buffer.concat([module, Buffer.from('!')]));
    expect(() => {
      openssl(...verify);
    }).toThrow(/verification failure/i);
  });

  it('takes its PIN from a file that the URI names, too', async () => {
    const moduleKey = `${keyUri('mok')}?pin-source=file://${at('pin')}`;
    await expect(load({ moduleKey, pin: '' })).resolves.toBeDefined();
    expect(await refusal({ moduleKey })).toContain('both');
    expect(await refusal({ moduleKey: `${keyUri('mok')}?pin-source=/gone`, pin: '' })).toContain('ENOENT');
  });

  it('is asked once with a wrong PIN, so that the token does not lock', async () => {
    expect(await spied({ moduleKey: keyUri('mok') })).toEqual({ error: undefined, logins: 1 });
    const { error, logins } = await spied({ moduleKey: keyUri('mok'), pin: 'wrong' });
    expect(error).toMatchObject({
      code: 'USAGE',
      message: expect.stringContaining('refuses the PIN') as string,
    });
    expect(logins).toBe(1);
  });

  it.each<[string, () => Given, string]>([
    ['with a wrong PIN', () => ({ moduleKey: keyUri('mok'), pin: 'wrong' }), 'refuses the PIN'],
    ['with an empty PIN', () => ({ moduleKey: keyUri('mok'), pin: 'empty' }), 'not one line of text'],
    ['without a PIN', () => ({ moduleKey: keyUri('mok'), pin: '' }), 'asks for its PIN'],
    ['in another token', () => ({ moduleKey: keyUri('mok', 'Nobody’s') }), 'is not there'],
    ['by another name', () => ({ moduleKey: keyUri('kom') }), 'no private key as'],
    [
      'of another certificate',
      () => ({ moduleKey: keyUri('mok'), moduleCertificate: 'other.pem' }),
      'not that of the key',
    ],
    ['that is not RSA', () => ({ moduleKey: keyUri('ec') }), 'not RSA'],
    [
      'whose certificate is not RSA',
      () => ({ moduleKey: keyUri('ec'), moduleCertificate: 'ec.pem' }),
      'a key of the type ec',
    ],
    [
      'of a module that is none',
      () => ({ moduleKey: `${keyUri('mok')}?module-path=/etc/passwd` }),
      'module cannot be loaded',
    ],
  ])('%s is refused', async (_what, given, expected) => {
    const message = await refusal(given());
    expect(message).toContain(expected);
    expect(message).not.toContain(PIN);
  });

  it('that openssl has no engine for is refused by the name of the package', async () => {
    const error: unknown = await load({
      moduleKey: keyUri('mok'),
      env: { OPENSSL_ENGINES: folder },
    }).catch((reason: unknown) => reason);
    expect(error).toMatchObject({
      code: 'TOOL_MISSING',
      hint: expect.stringContaining('libengine-pkcs11-openssl') as string,
    });
  });

  it('has its PIN in no argument and in no environment', async () => {
    const fifo = at('module.so');
    execFileSync('mkfifo', [fifo]);
    const refused = refusal({ moduleKey: `${keyUri('mok')}?module-path=${fifo}` });
    // Opens when openssl, which has the PIN by then, opens it to load a module.
    await using writer = await open(fifo, 'w');
    const asked = readdirSync('/proc').filter((pid) => {
      try {
        return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/environ`, 'latin1').includes(fifo);
      } catch {
        return false; // gone, or the kernel's own
      }
    });
    expect(asked.length).toBeGreaterThan(0);
    for (const pid of asked) {
      const shown = ['cmdline', 'environ'].map((name) => readFileSync(`/proc/${pid}/${name}`, 'latin1'));
      expect(shown.join()).toContain(encodeURIComponent(TOKEN_LABEL));
      expect(shown.join()).not.toContain(PIN);
      expect(readFileSync(`/proc/${pid}/limits`, 'utf8')).toMatch(/^Max core file size +0 +0 /m);
    }
    await writer.close();
    expect(await refused).toContain('module cannot be loaded');
  });

  it('is asked for by the command, which says nothing of the PIN', async () => {
    const declaration = join(PRODUCT_ROOT, 'images/debian-minimal.yaml');
    const options = ['--module-certificate', at('mok.pem'), '--module-key-passphrase', '7', '--verbose'];
    for (const [uri, said] of [
      [keyUri('kom'), 'no private key as'],
      [`${keyUri('mok')}?pin-value=${PIN}`, 'pin-value would show the PIN'],
    ] as const) {
      const { exitCode, stdout, stderr } = await ingot(
        ['build', declaration, '--module-key', uri, ...options],
        { cwd: folder, env: token.env, prefix: ['bash', '-c', 'exec 7<"$0"; exec "$@"', at('pin')] },
      );
      expect(exitCode).toBe(2);
      expect(stderr).toContain(said);
      expect(stdout + stderr).not.toContain(PIN);
    }
  });
});
