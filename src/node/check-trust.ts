/** Whether the running image takes another one: by the policy that it brought itself. */
import type { Digest } from '../digest.ts';
import { IngotError } from '../errors.ts';
import type { ImageSource, TransferOptions } from '../oci/image-transfer.ts';
import type { ImageLocation } from '../publish/location.ts';
import { verifyImage } from '../publish/verify-image.ts';
import { type TrustPolicy, type Verdict, verdictFor } from '../trust/policy.ts';

export interface TrustVerdict {
  /** `signed` with a key that counts, or `accepted` without asking for a signature. */
  readonly verdict: 'signed' | 'accepted';
  /** Fingerprints of the keys that signed it. */
  readonly keys: readonly Digest[];
  /** Where the rule is; undefined when there is no policy. */
  readonly rule: string | undefined;
}

export interface CheckTrustOptions extends TransferOptions {
  /** Whether the attestations that the policy names are asked for too. Default: true. */
  readonly isAttested?: boolean | undefined;
}

/**
 * @param policy of the running image; undefined: it has none, and takes everything
 * @param root digest of what the node's name for it led to
 * @throws IngotError UPDATE_REFUSED, with why no signature counts; what the source throws
 */
export async function checkTrust(
  source: ImageSource,
  location: ImageLocation,
  root: Digest,
  policy: TrustPolicy | undefined,
  { signal, isAttested = true }: CheckTrustOptions = {},
): Promise<TrustVerdict> {
  if (policy === undefined) return { verdict: 'accepted', keys: [], rule: undefined };
  const place =
    location.kind === 'registry'
      ? `${location.reference.registry}/${location.reference.repository}`
      : undefined;
  // A folder is in no repository: what holds for all places without a rule holds for it.
  const found: Verdict =
    place === undefined ? { verdict: policy.default, location: undefined } : verdictFor(policy, place);
  const at = found.verdict === 'signed' ? found.rule.location : found.location;
  const rule = at === undefined ? policy.file : `${at.file}:${at.line}`;
  const shown = place ?? source.shown;
  if (found.verdict !== 'signed') {
    if (found.verdict === 'accept') return { verdict: 'accepted', keys: [], rule };
    throw new IngotError('UPDATE_REFUSED', `this node takes no image from ${shown}`, {
      hint: `${rule} says so; an image with another policy can be installed with \`ingot disk\``,
    });
  }
  const { keys, keyless, signedAs, attestations } = found.rule;
  const repository = signedAs ?? place;
  const { trusted, manifests, missing } = await verifyImage(source, root, {
    keys,
    keyless,
    repository,
    attestations: isAttested ? attestations : [],
    signal,
  });
  const named = manifests.at(-1);
  const accepted = named?.accepted ?? [];
  if (trusted)
    return { verdict: 'signed', keys: [...new Set(accepted.flatMap(({ key }) => key ?? []))], rule };
  const refused = manifests.flatMap((manifest) => manifest.refused.map(({ message }) => message));
  const why =
    accepted.length > 0
      ? missing.map((type) => `it has no attestation ${type}`)
      : refused.length === 0
        ? ['it is not signed']
        : refused;
  throw new IngotError(
    'UPDATE_REFUSED',
    `${source.shown} is not signed as this node wants: ${why.join('; ')}`,
    {
      hint: `${rule} names the keys that count; sign the image with \`ingot sign\``,
    },
  );
}
