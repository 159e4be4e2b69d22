/** in-toto statements: what is said (the predicate) of what (the subject, by digest). */
import * as z from 'zod';

import { canonicalJson, type Digest, hexOf } from '../digest.ts';
import { type Checked, refuse } from './refusal.ts';
import { isSameRepository } from './repository-name.ts';

/** "This image is ours": the predicate of cosign's signatures. */
export const COSIGN_SIGN = 'https://sigstore.dev/cosign/sign/v1';
export const SLSA_PROVENANCE = 'https://slsa.dev/provenance/v1';

export const STATEMENT_MEDIA_TYPE = 'application/vnd.in-toto+json';
const STATEMENT_TYPES = ['https://in-toto.io/Statement/v1', 'https://in-toto.io/Statement/v0.1'] as const;

/** The names that `cosign attest --type` has for them. */
export const PREDICATE_NAMES: Readonly<Record<string, string>> = {
  slsaprovenance: 'https://slsa.dev/provenance/v0.2',
  slsaprovenance02: 'https://slsa.dev/provenance/v0.2',
  slsaprovenance1: SLSA_PROVENANCE,
  spdx: 'https://spdx.dev/Document',
  spdxjson: 'https://spdx.dev/Document',
  cyclonedx: 'https://cyclonedx.org/bom',
  vuln: 'https://cosign.sigstore.dev/attestation/vuln/v1',
  openvex: 'https://openvex.dev/ns',
};

const Subject = z.object({
  name: z.string().optional(),
  digest: z.record(z.string(), z.string()),
});

const Statement = z.object({
  _type: z.enum(STATEMENT_TYPES),
  subject: z.array(Subject),
  predicateType: z.string(),
  predicate: z.unknown(),
});
export type Statement = z.infer<typeof Statement>;

export interface StatementSubject {
  readonly digest: Digest;
  /** `HOST/PATH` of the image's repository, where it is known. */
  readonly repository: string | undefined;
}

/** In canonical form. */
export function renderStatement(
  { digest, repository }: StatementSubject,
  predicateType: string,
  predicate: object,
): Buffer {
  const subject = {
    ...(repository !== undefined && { name: repository }),
    digest: { sha256: hexOf(digest) },
  };
  return Buffer.from(
    canonicalJson({ _type: STATEMENT_TYPES[0], subject: [subject], predicateType, predicate }),
  );
}

/**
 * What a signed payload says, when it says it of this subject alone, and what it says is of this type. A subject
 * without a name, as cosign's signatures have it, is the image wherever it lies.
 */
export function readStatement(
  payload: Buffer,
  { digest, repository }: StatementSubject,
  predicateType: string,
): Checked<Statement> {
  let value: unknown;
  try {
    value = JSON.parse(payload.toString());
  } catch {
    return refuse('malformed', 'what is signed is no JSON');
  }
  const parsed = Statement.safeParse(value);
  if (!parsed.success) return refuse('malformed', 'what is signed is no in-toto statement');
  const statement = parsed.data;
  if (statement.predicateType !== predicateType) {
    return refuse('predicate', `it says ${JSON.stringify(statement.predicateType)}, not ${predicateType}`);
  }
  const [subject, other] = statement.subject;
  if (subject === undefined || other !== undefined) {
    return refuse('digest', `it is about ${statement.subject.length} subjects instead of one`);
  }
  if (subject.digest['sha256'] !== hexOf(digest)) {
    return refuse('digest', `it is about ${JSON.stringify(subject.digest)}`);
  }
  const { name = repository } = subject;
  if (name !== undefined && repository !== undefined && !isSameRepository(name, repository)) {
    return refuse('repository', `it is about the image in ${JSON.stringify(name)}`);
  }
  return { value: statement };
}
