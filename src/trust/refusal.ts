/** Why a signature does not count. */

/** Stable: reports and tests name them. */
export type RefusalReason =
  /** Not of the form that it claims, or larger than any. */
  | 'malformed'
  /** An envelope has exactly one signature here: what several signed is not to be pieced together. */
  | 'signature-count'
  /** By none of the keys that are trusted; or changed since. */
  | 'key'
  | 'digest'
  | 'predicate'
  | 'repository'
  /** A certificate instead of a key, and no identity is trusted. */
  | 'keyless'
  /** A certificate, log entry or timestamp that does not hold. */
  | 'certificate'
  /** Signed well, by somebody else. */
  | 'identity';

export interface Refusal {
  readonly reason: RefusalReason;
  /** For a person. */
  readonly message: string;
}

export type Checked<T> = { readonly value: T } | { readonly refusal: Refusal };

export function refuse(reason: RefusalReason, message: string): { readonly refusal: Refusal } {
  return { refusal: { reason, message } };
}
