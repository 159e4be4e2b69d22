/**
 * A key in a PKCS#11 token, which never leaves it: the token signs digests. The PIN reaches the program that talks to
 * the token by standard input alone.
 */
import { createHash, verify, type X509Certificate } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';

import type { SignSha256 } from '../build/modules/signature.ts';
import { errnoOf, IngotError } from '../errors.ts';
import { findProgram } from '../proc/find-program.ts';
import { run } from '../proc/run.ts';
import { signWithTokenArgv, tokenFailure } from '../tools/openssl.ts';
import type { CommandContext } from './context.ts';
import type { TokenKeyUri } from './pkcs11-uri.ts';

/** A token may wait for somebody to touch it. */
const SIGN_TIMEOUT_MS = 120_000;

/**
 * Signs once to see that it can: a build takes long, and a wrong PIN is better known before it.
 *
 * @param pin what `--module-key-passphrase` gives
 * @throws IngotError USAGE for a key that cannot be used or is not of `certificate`, TOOL_MISSING, TOOL_FAILED, TIMEOUT
 */
export async function openTokenKey(
  uri: TokenKeyUri,
  pin: string | undefined,
  certificate: X509Certificate,
  { env, signal }: Pick<CommandContext, 'env' | 'signal'>,
): Promise<SignSha256> {
  const key = { ...uri, pin: requirePin(await pinOf(uri, pin)), env };
  if ((await findProgram('openssl')) === undefined) {
    throw new IngotError('TOOL_MISSING', 'openssl is not installed', {
      hint: 'apt-get install openssl libengine-pkcs11-openssl',
    });
  }
  const signRsa: SignSha256 = async (content, by) => {
    const signature = await signWithToken(key, content, by);
    if (verify('sha256', content, certificate.publicKey, signature)) return signature;
    throw new IngotError('USAGE', 'the certificate is not that of the key that --module-key names');
  };
  await signRsa(Buffer.from('Ingot tries the key'), signal);
  return signRsa;
}

interface TokenKey extends TokenKeyUri {
  readonly pin: string;
  readonly env: CommandContext['env'];
}

async function signWithToken(
  { key, pin, modulePath, env }: TokenKey,
  content: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<Buffer> {
  const scratch = await mkdtemp(join(tmpdir(), 'ingot-sign-'));
  try {
    const digest = join(scratch, 'digest');
    await writeFile(digest, createHash('sha256').update(content).digest());
    const signature: Buffer[] = [];
    await run(signWithTokenArgv(key, digest), {
      label: 'openssl',
      stdin: `${pin}\n`,
      // Modules find their tokens through the user's environment.
      env: { ...passedOn(env), ...(modulePath !== undefined && { PKCS11_MODULE_PATH: modulePath }) },
      stdoutTo: new Writable({
        write: (chunk: Buffer, _encoding, done) => {
          signature.push(chunk);
          done();
        },
      }),
      timeoutMs: SIGN_TIMEOUT_MS,
      signal,
    });
    return Buffer.concat(signature);
  } catch (error) {
    if (!(error instanceof IngotError) || error.code !== 'TOOL_FAILED') throw error;
    throw tokenFailure(error.output ?? '') ?? error;
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

function passedOn(env: CommandContext['env']): Record<string, string> {
  const own = /^(?:PATH|LC_.*|LANG|LANGUAGE|TZ|INGOT_.*)$/;
  return Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) =>
      value === undefined || own.test(name) ? [] : [[name, value]],
    ),
  );
}

async function pinOf({ pinSource }: TokenKeyUri, pin: string | undefined): Promise<string> {
  if (pinSource !== undefined && pin !== undefined) {
    throw new IngotError('USAGE', 'the PIN comes from both --module-key-passphrase and pin-source');
  }
  if (pin !== undefined) return pin;
  if (pinSource === undefined) {
    throw new IngotError('USAGE', 'the token of --module-key asks for its PIN', {
      hint: 'give it through a descriptor: --module-key-passphrase 3 3<PIN-FILE',
    });
  }
  try {
    return (await readFile(pinSource, 'utf8')).replace(/\r?\n$/, '');
  } catch (error) {
    const why = errnoOf(error) ?? 'error';
    throw new IngotError('USAGE', `the pin-source of --module-key cannot be read (${why})`, { cause: error });
  }
}

/** An empty one would be a try all the same. */
function requirePin(pin: string): string {
  if (/^[^\r\n\0]{1,255}$/.test(pin)) return pin;
  throw new IngotError('USAGE', 'what is given as the PIN of --module-key is not one line of text');
}
