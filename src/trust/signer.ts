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
