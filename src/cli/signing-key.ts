/**
 * The key that images are signed with: a file, a descriptor, or the URI of one in a KMS, which cosign reaches. A key
 * and its password stay in memory; neither is ever in an argument, a message or a log.
 */
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';

import { errnoOf, IngotError } from '../errors.ts';
import { findProgram } from '../proc/find-program.ts';
import { run } from '../proc/run.ts';
import { cosignPublicKeyArgv, cosignSignBlobArgv, isKmsUri } from '../tools/cosign.ts';
import { isEncrypted, parsePrivateKey, type PrivateKey } from '../trust/private-key.ts';
import { isSignedBy, parsePublicKey, type PublicKey } from '../trust/public-key.ts';
import { type AnySigner, type Signer, signerOf } from '../trust/signer.ts';
import { askPassword, canAsk, givenPassword, type PasswordFlags } from './ask-password.ts';
import type { CommandContext } from './context.ts';
import { addKeylessOptions, type KeylessFlags, openKeylessSigner } from './keyless-options.ts';
import { readDescriptor } from './read-descriptor.ts';

export interface SigningOptions extends KeylessFlags, PasswordFlags {
  /** A file, or a URI that cosign knows. */
  readonly key?: string;
  readonly keyFd?: string;
  readonly allowLockOut?: boolean;
}

type KeyContext = Pick<CommandContext, 'cwd' | 'env' | 'signal'>;

const MAX_KEY_BYTES = 64 * 1024;
/** A KMS may be far away. */
const KMS_TIMEOUT_MS = 60_000;

export function addSigningOptions(command: Command): Command {
  return addKeylessOptions(command)
    .option('--key <file>', 'sign with this private key; or with one in a KMS, such as awskms:///alias/node')
    .option('--key-fd <n>', 'read the private key from this open file descriptor')
    .option('--password-fd <n>', 'read the password of the key from this one (default: COSIGN_PASSWORD)')
    .option('--password-file <file>', 'read it from this file; on a terminal it is asked for')
    .option('--allow-lock-out', 'sign also with a key that the image itself would refuse an update by');
}

/**
 * @returns undefined when no key is given
 * @throws IngotError USAGE for what is no usable key, TOOL_MISSING and TOOL_FAILED for a key in a KMS
 */
export async function openSigner(
  context: KeyContext,
  options: SigningOptions,
): Promise<AnySigner | undefined> {
  const keyless = await openKeylessSigner(context, options);
  const { key, keyFd } = options;
  const hasPassword = options.passwordFd !== undefined || options.passwordFile !== undefined;
  if (key !== undefined && keyFd !== undefined) {
    throw new IngotError('USAGE', 'the key comes from both --key and --key-fd');
  }
  if (keyless !== undefined) {
    if (key === undefined && keyFd === undefined && !hasPassword) return keyless;
    throw new IngotError('USAGE', '--keyless signs without a key', {
      hint: 'leave out the one or the other',
    });
  }
  if (key === undefined && keyFd === undefined) {
    if (!hasPassword) return undefined;
    throw new IngotError('USAGE', 'a password belongs to a key', { hint: 'give the key too: --key FILE' });
  }
  if (key !== undefined && isKmsUri(key)) return openKmsKey(key, context);
  return signerOf(await openPrivateKey(context, options));
}

/** @throws IngotError USAGE */
export async function openPrivateKey(context: KeyContext, options: SigningOptions): Promise<PrivateKey> {
  const { cwd, signal } = context;
  const { key, keyFd } = options;
  // Descriptors before anything is awaited.
  const fromDescriptor = keyFd === undefined ? undefined : readDescriptor(keyFd, '--key-fd');
  const given = await givenPassword(context, options);
  const shown = key ?? `of descriptor ${keyFd ?? ''}`;
  const pem = fromDescriptor ?? (await readKeyFile(resolve(cwd, key ?? ''), shown));
  try {
    const text = pem.toString();
    if (!isEncrypted(text)) return parsePrivateKey(text, undefined, shown);
    const isAsked = given === undefined && canAsk();
    // Empty is what scripts set for "none"; a key may be under the empty password all the same.
    return parsePrivateKey(
      text,
      isAsked ? await askPassword(`Password of ${shown}: `, signal) : given,
      shown,
    );
  } finally {
    pem.fill(0);
  }
}

/** @throws IngotError USAGE for what is no public key */
export function readPublicKeys(
  { cwd }: Pick<KeyContext, 'cwd'>,
  files: readonly string[],
): Promise<readonly PublicKey[]> {
  return Promise.all(
    files.map(async (file) => parsePublicKey((await readKeyFile(resolve(cwd, file), file)).toString(), file)),
  );
}

/** @throws IngotError USAGE */
export async function readKeyFile(path: string, shown: string): Promise<Buffer> {
  try {
    const status = await stat(path);
    if (!status.isDirectory() && status.size <= MAX_KEY_BYTES) return await readFile(path);
  } catch (error) {
    throw new IngotError('USAGE', `the key ${shown} cannot be read (${errnoOf(error) ?? 'error'})`, {
      cause: error,
    });
  }
  throw new IngotError('USAGE', `${shown} is no key`, { hint: 'name a file such as cosign.key' });
}

async function openKmsKey(key: string, context: KeyContext): Promise<Signer> {
  const { env, signal } = context;
  if ((await findProgram('cosign')) === undefined) {
    throw new IngotError(
      'TOOL_MISSING',
      `${key} is a key in a KMS, and cosign, which reaches it, is not installed`,
      {
        hint: 'apt-get install cosign, or give the key as a file',
      },
    );
  }
  const options = { env: passedOn(env), label: 'cosign', timeoutMs: KMS_TIMEOUT_MS, signal };
  const { stdout } = await run(cosignPublicKeyArgv(key), options);
  const publicKey = parsePublicKey(stdout, key);
  return {
    publicKey,
    sign: async (content) => {
      const scratch = await mkdtemp(join(tmpdir(), 'ingot-sign-'));
      try {
        const file = join(scratch, 'content');
        const output = join(scratch, 'signature');
        await writeFile(file, content);
        await run(cosignSignBlobArgv(key, file, output), options);
        const signature = Buffer.from(await readFile(output, 'utf8'), 'base64');
        if (isSignedBy(publicKey, content, signature)) return signature;
        throw new IngotError('TOOL_FAILED', `what cosign signs is not signed with ${key}`);
      } finally {
        await rm(scratch, { recursive: true, force: true });
      }
    },
  };
}

/** Clouds find their credentials in the user's environment. */
function passedOn(env: CommandContext['env']): Record<string, string> {
  const own = /^(?:PATH|LC_.*|LANG|LANGUAGE|TZ|INGOT_.*|COSIGN_PASSWORD)$/;
  return Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) =>
      value === undefined || own.test(name) ? [] : [[name, value]],
    ),
  );
}
