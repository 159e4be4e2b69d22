/** Who signs: a key in memory, or one that only another program can reach. */
import { sign } from 'node:crypto';

import type { PrivateKey } from './private-key.ts';
import type { PublicKey } from './public-key.ts';

export interface Signer {
  readonly publicKey: PublicKey;
  /** ECDSA over SHA-256 of the content, in DER. */
  sign(content: Buffer, signal?: AbortSignal): Promise<Buffer>;
}

export function signerOf({ key, publicKey }: PrivateKey): Signer {
  return { publicKey, sign: (content) => Promise.resolve(sign('sha256', content, key)) };
}

/** Signs by an identity. What it signs is a bundle with a certificate, and there is no other form of it. */
export interface KeylessSigner {
  /** Of the token. */
  readonly issuer: string;
  /** What the certificate may call who signs, by the token. */
  readonly subjects: readonly string[];
  /** The bundle, as JSON. */
  signStatement(payload: Buffer, type: string): Promise<object>;
}

export type AnySigner = Signer | KeylessSigner;

export function isKeyless(signer: AnySigner): signer is KeylessSigner {
  return 'signStatement' in signer;
}
