/**
 * Private keys as they lie in files: PKCS#8 and SEC 1 in PEM, and cosign's own form, in which a password guards the
 * key (scrypt, then NaCl's secretbox). Nothing of a key reaches a message.
 */
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  scryptSync,
} from 'node:crypto';
import nacl from 'tweetnacl';
import * as z from 'zod';

import { IngotError } from '../errors.ts';
import { type PublicKey, publicKey, renderPublicKey, requireP256 } from './public-key.ts';

/** cosign's names for the same content, new and old. */
const LABELS = ['ENCRYPTED SIGSTORE PRIVATE KEY', 'ENCRYPTED COSIGN PRIVATE KEY'] as const;
/** As cosign writes them. scrypt takes 128 · N · r bytes. */
const SCRYPT = { N: 65_536, r: 8, p: 1 } as const;
/** More would be a file that keeps the reader busy, not one that keeps a key. */
const MAX_SCRYPT = { N: 2 ** 20, r: 16, p: 4 } as const;
const SALT_BYTES = 32;

const Base64 = z.base64().transform((text) => Buffer.from(text, 'base64'));

const Sealed = z.object({
  kdf: z.object({
    name: z.literal('scrypt'),
    params: z.object({
      N: z.int().min(2).max(MAX_SCRYPT.N),
      r: z.int().min(1).max(MAX_SCRYPT.r),
      p: z.int().min(1).max(MAX_SCRYPT.p),
    }),
    salt: Base64,
  }),
  cipher: z.object({
    name: z.literal('nacl/secretbox'),
    nonce: Base64.refine(({ length }) => length === nacl.secretbox.nonceLength),
  }),
  ciphertext: Base64,
});

export interface PrivateKey {
  readonly key: KeyObject;
  readonly publicKey: PublicKey;
}

/** True for a key that takes a password. */
export function isEncrypted(pem: string): boolean {
  return /-----BEGIN ENCRYPTED |Proc-Type: 4,ENCRYPTED/.test(pem);
}

/**
 * @param shown names it in messages: a path, never the text
 * @throws IngotError USAGE for what is no key, a missing or wrong password, a key of another kind
 */
export function parsePrivateKey(pem: string, password: string | undefined, shown: string): PrivateKey {
  if (isEncrypted(pem) && password === undefined) {
    throw new IngotError('USAGE', `the key ${shown} takes a password`, {
      hint: 'set COSIGN_PASSWORD, or give it through a descriptor: --password-fd 3 3<FILE',
    });
  }
  const label = LABELS.find((one) => pem.includes(`-----BEGIN ${one}-----`));
  const key =
    label === undefined ? parsePem(pem, password, shown) : openSealed(pem, label, password ?? '', shown);
  requireP256(key, `the key ${shown}`);
  return { key, publicKey: publicKey(createPublicKey(key), shown) };
}

export interface KeyPair {
  /** In cosign's form. */
  readonly privateKey: string;
  readonly publicKey: string;
}

/** A new key under a password. cosign reads both files. @param random as many random bytes as it is asked for */
export function makeKeyPair(password: string, random: (bytes: number) => Buffer): KeyPair {
  const { privateKey, publicKey: made } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return {
    privateKey: sealPrivateKey(privateKey, password, random),
    publicKey: renderPublicKey(publicKey(made, 'the new key')),
  };
}

export function sealPrivateKey(key: KeyObject, password: string, random: (bytes: number) => Buffer): string {
  const salt = random(SALT_BYTES);
  const nonce = random(nacl.secretbox.nonceLength);
  const plain = key.export({ type: 'pkcs8', format: 'der' });
  const box = nacl.secretbox(plain, nonce, derive(password, salt, SCRYPT));
  plain.fill(0);
  const sealed = {
    kdf: { name: 'scrypt', params: SCRYPT, salt: salt.toString('base64') },
    cipher: { name: 'nacl/secretbox', nonce: nonce.toString('base64') },
    ciphertext: Buffer.from(box).toString('base64'),
  };
  const body = Buffer.from(JSON.stringify(sealed)).toString('base64');
  const lines = body.match(/.{1,64}/g) ?? [];
  return [`-----BEGIN ${LABELS[0]}-----`, ...lines, `-----END ${LABELS[0]}-----`, ''].join('\n');
}

function parsePem(pem: string, password: string | undefined, shown: string): KeyObject {
  try {
    return createPrivateKey({
      key: pem,
      format: 'pem',
      ...(password !== undefined && isEncrypted(pem) && { passphrase: password }),
    });
  } catch {
    // Not OpenSSL's own words, which may quote what it was given.
    if (isEncrypted(pem)) throw wrongPassword(shown);
    throw new IngotError('USAGE', `${shown} is no private key in PEM`, {
      hint: 'a file such as cosign.key, or one that `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` writes',
    });
  }
}

function openSealed(pem: string, label: string, password: string, shown: string): KeyObject {
  const sealed = parseSealed(pem, label);
  if (sealed === undefined) {
    throw new IngotError('USAGE', `the key ${shown} is damaged: it is not what cosign writes`);
  }
  const { kdf, cipher, ciphertext } = sealed;
  const opened = nacl.secretbox.open(ciphertext, cipher.nonce, derive(password, kdf.salt, kdf.params));
  if (opened === null) throw wrongPassword(shown);
  try {
    return createPrivateKey({ key: Buffer.from(opened), format: 'der', type: 'pkcs8' });
  } catch {
    throw new IngotError('USAGE', `the key ${shown} is damaged: no key is under its password`);
  } finally {
    opened.fill(0);
  }
}

function parseSealed(pem: string, label: string): z.infer<typeof Sealed> | undefined {
  const body = new RegExp(`-----BEGIN ${label}-----([A-Za-z0-9+/=\\s]+)-----END ${label}-----`).exec(
    pem,
  )?.[1];
  try {
    return Sealed.parse(JSON.parse(Buffer.from(body ?? '', 'base64').toString()));
  } catch {
    return undefined;
  }
}

function derive(password: string, salt: Buffer, { N, r, p }: { N: number; r: number; p: number }): Buffer {
  // Node.js allows 32 MiB by default, and cosign's parameters take 64.
  return scryptSync(password, salt, nacl.secretbox.keyLength, { N, r, p, maxmem: 129 * N * r + 1024 * 1024 });
}

function wrongPassword(shown: string): IngotError {
  return new IngotError('USAGE', `the password of ${shown} is wrong`);
}
