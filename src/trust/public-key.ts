/**
 * Public keys that images are verified with. All are ECDSA on the curve P-256: of what cosign signs with, that is
 * what the policy of containers (skopeo, podman, bootc) accepts too.
 */
import { createPublicKey, type KeyObject, verify } from 'node:crypto';

import { type Digest, digestOf, hexOf } from '../digest.ts';
import { IngotError } from '../errors.ts';

export interface PublicKey {
  readonly key: KeyObject;
  /** Digest of its SubjectPublicKeyInfo: how people and reports name it. */
  readonly fingerprint: Digest;
}

/** OpenSSL's name of P-256. */
const CURVE = 'prime256v1';
/** A key takes 178 bytes in PEM; what is larger is something else. */
const MAX_PEM_BYTES = 16 * 1024;

/**
 * @param shown names it in messages: a path, never the text
 * @throws IngotError USAGE for what is no such key
 */
export function parsePublicKey(pem: string, shown: string): PublicKey {
  if (pem.includes('PRIVATE KEY')) {
    throw new IngotError('USAGE', `${shown} is a private key, and verifying takes the public one`, {
      hint: 'keep it where only the signer reads it; `ingot key show` prints its public half',
    });
  }
  let key: KeyObject;
  try {
    if (pem.length > MAX_PEM_BYTES || !pem.includes('-----BEGIN PUBLIC KEY-----')) throw new TypeError();
    key = createPublicKey({ key: pem, format: 'pem' });
  } catch {
    throw new IngotError('USAGE', `${shown} is no public key in PEM`, {
      hint: 'a file such as cosign.pub, which begins with -----BEGIN PUBLIC KEY-----',
    });
  }
  return publicKey(key, shown);
}

/** @throws IngotError USAGE for a key of another kind */
export function publicKey(key: KeyObject, shown: string): PublicKey {
  requireP256(key, shown);
  return { key, fingerprint: digestOf(spkiOf(key)) };
}

export function requireP256(key: KeyObject, shown: string): void {
  const curve = key.asymmetricKeyDetails?.namedCurve;
  if (key.asymmetricKeyType === 'ec' && curve === CURVE) return;
  const kind =
    key.asymmetricKeyType === 'ec' ? `EC on the curve ${curve ?? 'unknown'}` : key.asymmetricKeyType;
  throw new IngotError(
    'USAGE',
    `${shown} is a key of the kind ${kind ?? 'unknown'}, and images are signed with P-256`,
    {
      hint: 'hosts with podman or bootc verify no other: make one with `ingot key new`',
    },
  );
}

/** What a cosign bundle says about the key that it was signed with. */
export function hintOf({ fingerprint }: PublicKey): string {
  return Buffer.from(hexOf(fingerprint), 'hex').toString('base64');
}

export function renderPublicKey({ key }: PublicKey): string {
  return key.export({ type: 'spki', format: 'pem' }).toString();
}

/** ECDSA over SHA-256; `signature` in DER. */
export function isSignedBy({ key }: PublicKey, content: Uint8Array, signature: Uint8Array): boolean {
  try {
    return verify('sha256', content, key, signature);
  } catch {
    return false; // not even the form of a signature
  }
}

function spkiOf(key: KeyObject): Buffer {
  return key.export({ type: 'spki', format: 'der' });
}
