/**
 * The key that kernel modules are signed with. It comes through a file descriptor, stays in memory, and the descriptor
 * is closed before any program is started that could inherit it.
 */
import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto';
import { closeSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';

import { moduleSigner, signWith, type ModuleSigner } from '../build/modules/signature.ts';
import { errnoOf, IngotError } from '../errors.ts';

export interface ModuleKeyOptions {
  /** Numbers of file descriptors, as written. */
  readonly moduleKey?: string;
  readonly moduleKeyPassphrase?: string;
  readonly moduleCertificate?: string;
}

/** @throws IngotError USAGE for what cannot be read, is no RSA key, or does not belong together */
export async function loadModuleSigner(
  cwd: string,
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
  // Before anything is awaited: nothing has been started yet that could take the descriptors along.
  const text = readDescriptor(moduleKey, '--module-key');
  const passphrase =
    moduleKeyPassphrase === undefined
      ? undefined
      : readDescriptor(moduleKeyPassphrase, '--module-key-passphrase')
          .toString('utf8')
          .replace(/\r?\n$/, '');
  const key = parseKey(text, passphrase);
  text.fill(0);
  const certificate = await loadCertificate(resolve(cwd, moduleCertificate), moduleCertificate);
  if (!certificate.checkPrivateKey(key)) {
    throw new IngotError(
      'USAGE',
      `${moduleCertificate} is not the certificate of the key that --module-key gives`,
    );
  }
  return moduleSigner(signWith(key), certificate);
}

function readDescriptor(number: string, option: string): Buffer {
  if (!/^(?:[3-9]|[1-9]\d{1,5})$/.test(number)) {
    throw new IngotError(
      'USAGE',
      `${option} takes the number of a file descriptor from 3 on, not ${JSON.stringify(number)}`,
      {
        hint: `such as: ${option} 3 3<FILE`,
      },
    );
  }
  const descriptor = Number(number);
  try {
    const content = readFileSync(descriptor);
    closeSync(descriptor);
    return content;
  } catch (error) {
    const errno = errnoOf(error) ?? 'error';
    const why = errno === 'EBADF' ? 'it is not open for reading' : errno;
    throw new IngotError('USAGE', `the file descriptor ${number} of ${option} cannot be read: ${why}`, {
      hint: `open it for Ingot: ${option} ${number} ${number}<FILE`,
      cause: error,
    });
  }
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
