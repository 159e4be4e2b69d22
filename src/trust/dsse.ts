/** Dead Simple Signing Envelopes (github.com/secure-systems-lab/dsse): payload, its type, and signatures over both. */
import * as z from 'zod';

import { isSignedBy, type PublicKey } from './public-key.ts';
import { type Checked, refuse } from './refusal.ts';
import type { Signer } from './signer.ts';

export const Envelope = z.object({
  payload: z.base64(),
  payloadType: z.string(),
  signatures: z.array(z.object({ sig: z.base64() })),
});
export type Envelope = z.infer<typeof Envelope>;

export interface OpenedEnvelope {
  readonly payload: Buffer;
  readonly key: PublicKey;
}

/** One signature, without the `keyid` that cosign refuses. */
export async function signEnvelope(
  payload: Buffer,
  payloadType: string,
  signer: Signer,
  signal?: AbortSignal,
): Promise<Envelope> {
  const signature = await signer.sign(preAuthenticationEncoding(payloadType, payload), signal);
  return {
    payload: payload.toString('base64'),
    payloadType,
    signatures: [{ sig: signature.toString('base64') }],
  };
}

/** The payload, when one of the keys signed it. */
export function openEnvelope(
  envelope: Envelope,
  payloadType: string,
  keys: readonly PublicKey[],
): Checked<OpenedEnvelope> {
  const sound = soundPayload(envelope, payloadType);
  if ('refusal' in sound) return sound;
  const { payload, signature } = sound.value;
  const content = preAuthenticationEncoding(payloadType, payload);
  const key = keys.find((one) => isSignedBy(one, content, signature));
  return key === undefined
    ? refuse('key', 'it is signed by no key that is trusted')
    : { value: { payload, key } };
}

/** What an envelope holds, of the form that it must have; whoever signed it. */
export function soundPayload(
  envelope: Envelope,
  payloadType: string,
): Checked<{ readonly payload: Buffer; readonly signature: Buffer }> {
  const [signature, other] = envelope.signatures;
  if (signature === undefined || other !== undefined) {
    return refuse('signature-count', `it has ${envelope.signatures.length} signatures instead of one`);
  }
  if (envelope.payloadType !== payloadType) {
    return refuse('malformed', `it holds ${JSON.stringify(envelope.payloadType)}, no statement`);
  }
  return {
    value: {
      payload: Buffer.from(envelope.payload, 'base64'),
      signature: Buffer.from(signature.sig, 'base64'),
    },
  };
}

/** What is signed: unambiguous whatever type and payload are. */
export function preAuthenticationEncoding(type: string, payload: Buffer): Buffer {
  return Buffer.concat([
    Buffer.from(`DSSEv1 ${Buffer.byteLength(type)} ${type} ${payload.length} `),
    payload,
  ]);
}
