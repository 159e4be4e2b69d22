/**
 * Whether an image would take what is about to be signed: signed by a key that its own policy does not know, it is an
 * update that none of its nodes can take.
 */
import * as z from 'zod';

import { hexOf } from '../digest.ts';
import { IngotError } from '../errors.ts';
import type { ManifestDocument } from '../oci/image-transfer.ts';
import { Manifest } from '../oci/schema.ts';
import { isIdentity } from '../trust/identity.ts';
import { patternsOf } from '../trust/policy.ts';
import { isSameRepository } from '../trust/repository-name.ts';
import { type AnySigner, isKeyless } from '../trust/signer.ts';

const Signed = z.object({
  keys: z.array(z.string()),
  identities: z
    .array(
      z.union([
        z.object({ issuer: z.string(), subject: z.string() }),
        z.object({ issuer: z.string(), subjectRegexp: z.string() }),
      ]),
    )
    .optional(),
  /** What its signatures must be for, where that is another repository than the one it is pulled from. */
  signedAs: z.string().optional(),
});

/** As `describePolicy` writes it. */
const Described = z.object({
  repositories: z.record(z.string(), z.union([z.enum(['accept', 'reject']), Signed])),
});

const ANNOTATION = 'dev.ingot.update.policy';

/**
 * Looks at each image that says what it takes from `repository`. One that has no rule for it takes nothing from there,
 * and its nodes do not look.
 *
 * @param documents manifests and indexes, as they will be signed
 * @param repository `HOST/PATH` that is signed for
 * @throws IngotError UPDATE_LOCKOUT
 */
export function requireAcceptedSigner(
  documents: readonly ManifestDocument[],
  repository: string,
  signer: AnySigner,
): void {
  for (const { descriptor, bytes } of documents) {
    const text = annotationOf(bytes);
    if (text === undefined) continue;
    const rule = ruleIn(text, repository);
    if (rule === undefined || rule === 'accept') continue;
    const { signedAs = repository } = rule === 'reject' ? {} : rule;
    if (rule !== 'reject' && accepts(rule, signer) && isSameRepository(signedAs, repository)) continue;
    const wanted =
      rule === 'reject'
        ? 'it takes nothing from there'
        : `it takes what ${nameSigners(rule)} signs${signedAs === repository ? '' : ` for ${signedAs}`}`;
    throw new IngotError(
      'UPDATE_LOCKOUT',
      `the nodes of ${descriptor.digest.slice(7, 19)} would refuse it as an update from ${repository}: ${wanted}, not ${isKeyless(signer) ? (signer.subjects[0] ?? signer.issuer) : hexOf(signer.publicKey.fingerprint).slice(0, 12)}`,
      {
        hint: 'sign with a key of update.verify in its declaration, or build it with the new key beside the old one; --allow-lock-out signs all the same',
      },
    );
  }
}

function accepts({ keys, identities = [] }: z.infer<typeof Signed>, signer: AnySigner): boolean {
  if (!isKeyless(signer)) return keys.includes(signer.publicKey.fingerprint);
  const { issuer, subjects } = signer;
  return identities.some((one) => subjects.some((subject) => isIdentity(one, { issuer, subject })));
}

function nameSigners({ keys, identities = [] }: z.infer<typeof Signed>): string {
  const people = identities.map((one) => ('subject' in one ? one.subject : one.subjectRegexp));
  return [...keys.map((key) => key.slice(7, 19)), ...people].join(' or ');
}

function annotationOf(bytes: Buffer): string | undefined {
  const { success, data } = Manifest.safeParse(JSON.parse(bytes.toString()));
  return success ? data.annotations?.[ANNOTATION] : undefined;
}

function ruleIn(
  text: string,
  repository: string,
): z.infer<typeof Described>['repositories'][string] | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  const { success, data } = Described.safeParse(value);
  if (!success) {
    throw new IngotError('IMAGE_INVALID', `the annotation ${ANNOTATION} of the image is no policy`, {
      hint: 'it was not made by `ingot build`; --allow-lock-out signs all the same',
    });
  }
  const pattern = patternsOf(repository).find((one) => Object.hasOwn(data.repositories, one));
  return pattern === undefined ? undefined : data.repositories[pattern];
}
