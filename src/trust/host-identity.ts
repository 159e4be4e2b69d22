/**
 * What the policy of containers can say of identities (containers-policy.json(5), `fulcio`): one email address, vouched
 * for by one issuer, its certificate by the roots of an authority, and the time by a log whose key is ECDSA.
 */
import * as z from 'zod';

import type { HostRule } from '../spec/update-schema.ts';

export interface HostIdentity {
  readonly issuer: string;
  readonly email: string;
  /** Roots of the authorities, in PEM, one after the other. */
  readonly authorities: string;
  /** Keys of the logs, each in PEM. */
  readonly logs: readonly string[];
}

type Signers = Pick<Exclude<HostRule, string>, 'identities' | 'trustedRoot'>;

/** Of a trusted root: what is needed here. Its other members are checked where it is read. */
const Root = z.object({
  certificateAuthorities: z.array(
    z.object({ certChain: z.object({ certificates: z.array(z.object({ rawBytes: z.base64() })) }) }),
  ),
  tlogs: z
    .array(z.object({ publicKey: z.object({ rawBytes: z.base64(), keyDetails: z.string().optional() }) }))
    .default([]),
});

/** Undefined where a node's podman and bootc could not tell who may sign. */
export function hostIdentity({ identities = [], trustedRoot = '' }: Signers): HostIdentity | undefined {
  const [identity, other] = identities;
  if (identity === undefined || other !== undefined || !('subject' in identity)) return undefined;
  const { issuer, subject } = identity;
  if (!/^[^\s@/:]+@[^\s@/:]+$/.test(subject)) return undefined;
  const root = Root.safeParse(parse(trustedRoot)).data;
  if (root === undefined) return undefined;
  const roots = root.certificateAuthorities.flatMap(
    ({ certChain: { certificates } }) => certificates.at(-1)?.rawBytes ?? [],
  );
  const logs = root.tlogs.flatMap(({ publicKey: { rawBytes, keyDetails = '' } }) =>
    keyDetails.includes('ECDSA') ? pem('PUBLIC KEY', rawBytes) : [],
  );
  if (roots.length === 0 || logs.length === 0) return undefined;
  return {
    issuer,
    email: subject,
    authorities: [...new Set(roots)].map((raw) => pem('CERTIFICATE', raw)).join(''),
    logs: [...new Set(logs)],
  };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function pem(label: string, base64: string): string {
  const lines = base64.match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}
