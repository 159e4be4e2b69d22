/** Content digests as the OCI image spec writes them: `sha256:` and 64 lower-case hex digits. */
import { createHash } from 'node:crypto';
import * as z from 'zod';

declare const digestBrand: unique symbol;
/** `sha256:<64 hex>`; branded so that no other string is taken for one. */
export type Digest = string & { readonly [digestBrand]: true };

const PATTERN = /^sha256:[0-9a-f]{64}$/;

export function isDigest(text: string): text is Digest {
  return PATTERN.test(text);
}

/** A digest in a file or a record. */
export const DigestText = z.custom<Digest>(
  (value) => typeof value === 'string' && isDigest(value),
  'sha256: and 64 hex digits',
);

/** @throws TypeError when the text is not a sha256 digest. */
export function parseDigest(text: string): Digest {
  if (!isDigest(text)) throw new TypeError(`not a sha256 digest: ${JSON.stringify(text)}`);
  return text;
}

export function digestOfHex(hex: string): Digest {
  return parseDigest(`sha256:${hex}`);
}

/** The 64 hex digits. */
export function hexOf(digest: Digest): string {
  return digest.slice('sha256:'.length);
}

export function digestOf(data: string | Uint8Array): Digest {
  return digestOfHex(createHash('sha256').update(data).digest('hex'));
}

/** Digest of a JSON value in canonical form: keys sorted, no white space. Undefined members are left out. */
export function digestOfJson(value: unknown): Digest {
  return digestOf(canonicalJson(value));
}

/** JSON with sorted keys and no white space, so that equal values have equal text. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, member: unknown) =>
    member !== null && typeof member === 'object' && !Array.isArray(member)
      ? Object.fromEntries(
          Object.entries(member).sort(([left], [right]) => (left < right ? -1 : left > right ? 1 : 0)),
        )
      : member,
  );
}
