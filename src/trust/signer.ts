/** Who signs: a key in memory, or one that only another program can reach. */
import { sign } from 'node:crypto';

import type { CertifiedSignature } from './certified-signature.ts';
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

/** Signs by an identity: with a certificate that names it. */
export interface KeylessSigner {
  /** Of the token. */
  readonly issuer: string;
  /** What the certificate may call who signs, by the token. */
  readonly subjects: readonly string[];
  /** The bundle, as JSON. */
  signStatement(payload: Buffer, type: string): Promise<object>;
  /** The same of a payload, for the older form. None where no log would vouch for the time. */
  readonly signPayload?: (payload: Buffer) => Promise<CertifiedSignature | undefined>;
}

export type AnySigner = Signer | KeylessSigner;

export function isKeyless(signer: AnySigner): signer is KeylessSigner {
  return 'signStatement' in signer;
}
