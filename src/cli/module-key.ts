/**
 * The key that kernel modules are signed with. It stays in a PKCS#11 token, or comes through a file descriptor and stays
 * in memory; descriptors are closed before any program is started that could inherit them.
 */
import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';

import { moduleSigner, signWith, type ModuleSigner } from '../build/modules/signature.ts';
import { errnoOf, IngotError } from '../errors.ts';
import type { CommandContext } from './context.ts';
import { isPkcs11Uri, parseTokenKeyUri } from './pkcs11-uri.ts';
import { readDescriptor, readPasswordDescriptor } from './read-descriptor.ts';
import { openTokenKey } from './token-key.ts';

export interface ModuleKeyOptions {
  /** The number of a file descriptor, as written, or a PKCS#11 URI. */
  readonly moduleKey?: string;
  /** The number of a file descriptor, as written. */
  readonly moduleKeyPassphrase?: string;
  readonly moduleCertificate?: string;
}

/** @throws IngotError USAGE for what cannot be read, is no RSA key, or does not belong together; what a token throws */
export async function loadModuleSigner(
  context: Pick<CommandContext, 'cwd' | 'env' | 'signal'>,
  options: ModuleKeyOptions,
): Promise<ModuleSigner | undefined> {
  const { moduleKey, moduleKeyPassphrase, moduleCertificate } = options;
  if (moduleKey === undefined && moduleCertificate === undefined && moduleKeyPassphrase === undefined) {
    return undefined;
  }
  if (moduleKey === undefined || moduleCertificate === undefined) {
    throw new IngotError('USAGE', 'signing kernel modules takes both --module-key and --module-certificate', {
      hint: 'such as: --module-key 3 3<module.key --module-certificate module.pem',
    });
  }
  const path = resolve(context.cwd, moduleCertificate);
  // Descriptors before anything is awaited: nothing has been started yet that could take them along.
  if (isPkcs11Uri(moduleKey)) {
    const uri = parseTokenKeyUri(moduleKey);
    const pin = readPassphrase(moduleKeyPassphrase);
    const certificate = await loadCertificate(path, moduleCertificate);
    requireRsa(certificate, moduleCertificate);
    return moduleSigner(await openTokenKey(uri, pin, certificate, context), certificate);
  }
  const text = readDescriptor(moduleKey, '--module-key', ', or a PKCS#11 URI');
  const key = parseKey(text, readPassphrase(moduleKeyPassphrase));
  text.fill(0);
  const certificate = await loadCertificate(path, moduleCertificate);
  if (!certificate.checkPrivateKey(key)) {
    throw new IngotError(
      'USAGE',
      `${moduleCertificate} is not the certificate of the key that --module-key gives`,
    );
  }
  return moduleSigner(signWith(key), certificate);
}

function readPassphrase(number: string | undefined): string | undefined {
  return number === undefined ? undefined : readPasswordDescriptor(number, '--module-key-passphrase');
}

function parseKey(text: Buffer, passphrase: string | undefined): KeyObject {
  let key: KeyObject;
  try {
    key = createPrivateKey({ key: text, format: 'pem', ...(passphrase !== undefined && { passphrase }) });
  } catch {
    // Not OpenSSL's own words, which may quote what it was given.
    throw keyUnreadable(text.includes('ENCRYPTED'), passphrase !== undefined);
  }
  if (key.asymmetricKeyType === 'rsa') return key;
  throw new IngotError(
    'USAGE',
    `the key of --module-key is ${key.asymmetricKeyType ?? 'none'}, and modules are signed with RSA`,
    {
      hint: 'other signatures hold a random number, so that no two builds would be the same',
    },
  );
}

function keyUnreadable(isLocked: boolean, hasPassphrase: boolean): IngotError {
  if (isLocked && !hasPassphrase) {
    return new IngotError('USAGE', 'the key of --module-key has a passphrase', {
      hint: 'give it through another descriptor, with --module-key-passphrase',
    });
  }
  return new IngotError(
    'USAGE',
    hasPassphrase
      ? 'the key of --module-key cannot be read: a wrong passphrase, or no private key in PEM'
      : 'what --module-key gives is no private key in PEM',
    { hint: 'a key as `openssl genpkey -algorithm RSA` writes it' },
  );
}

function requireRsa(certificate: X509Certificate, shown: string): void {
  const type = certificate.publicKey.asymmetricKeyType;
  if (type === 'rsa') return;
  throw new IngotError(
    'USAGE',
    `${shown} is the certificate of a key of the type ${type ?? 'unknown'}, and modules are signed with RSA`,
  );
}

async function loadCertificate(path: string, shown: string): Promise<X509Certificate> {
  let content: Buffer;
  try {
    content = await readFile(path);
  } catch (error) {
    throw new IngotError('USAGE', `the certificate ${shown} cannot be read (${errnoOf(error) ?? 'error'})`, {
      cause: error,
    });
  }
  try {
    return new X509Certificate(content);
  } catch (error) {
    throw new IngotError('USAGE', `${shown} is no certificate in PEM or DER`, { cause: error });
  }
}
