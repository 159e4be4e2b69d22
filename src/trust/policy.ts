/** Which repositories need whose signatures: `trust.yaml`, parsed and asked. */
import { dirname, isAbsolute, join } from 'node:path';

import { FindingsError, IngotError, type Finding, type Location } from '../errors.ts';
import { applySchema } from '../spec/source-schema.ts';
import { keyLocationAt, locationAt, parseSource } from '../spec/source-tree.ts';
import type { IdentityInput, TrustedIdentity } from '../spec/update-schema.ts';
import type { KeylessTrust } from './keyless.ts';
import { type PublicKey, parsePublicKey } from './public-key.ts';
import { TrustPolicyInput } from './policy-schema.ts';
import { PREDICATE_NAMES } from './statement.ts';

export interface TrustRule {
  /** As written: a repository, or `…/*`. */
  readonly pattern: string;
  readonly keys: readonly PublicKey[];
  /** Who may sign without a key. */
  readonly keyless: (KeylessTrust & { readonly text: string }) | undefined;
  /** Repository that signatures name instead of the image's own. */
  readonly signedAs: string | undefined;
  /** Predicate types. */
  readonly attestations: readonly string[];
  readonly location: Location;
}

export type Verdict =
  | { readonly verdict: 'accept' | 'reject'; readonly location: Location | undefined }
  | { readonly verdict: 'signed'; readonly rule: TrustRule };

export interface TrustPolicy {
  readonly file: string;
  readonly default: 'accept' | 'reject';
  readonly rules: ReadonlyMap<string, Verdict>;
}

export interface ParsePolicyOptions {
  /**
   * Text of the file of a key, or of a trusted root.
   *
   * @throws IngotError when it cannot be read; its message becomes the finding.
   */
  readonly readKey: (path: string) => Promise<string>;
}

/**
 * @param file as findings name it; keys are relative to its folder
 * @throws FindingsError TRUST_INVALID with everything that is wrong
 */
export async function parseTrustPolicy(
  text: string,
  file: string,
  { readKey }: ParsePolicyOptions,
): Promise<TrustPolicy> {
  const { root, findings } = parseSource({ file, text }, 'TRUST_INVALID');
  if (root === undefined) throw new FindingsError(findings);
  const { value, findings: mistakes } = applySchema(root, TrustPolicyInput, 'TRUST_INVALID');
  const all: Finding[] = [...findings, ...mistakes.map(({ finding }) => finding)];
  if (value === undefined) throw new FindingsError(all);
  const rules = new Map<string, Verdict>();
  for (const [pattern, rule] of Object.entries(value.repositories ?? {})) {
    const path = ['repositories', pattern];
    const location = keyLocationAt(root, path);
    if (typeof rule === 'string') {
      rules.set(pattern, { verdict: rule, location });
      continue;
    }
    const keys: PublicKey[] = [];
    const attempt = async (where: readonly (string | number)[], read: () => Promise<void>): Promise<void> => {
      try {
        await read();
      } catch (error) {
        if (!(error instanceof IngotError)) throw error;
        const at = locationAt(root, [...path, ...where]);
        all.push({ code: 'TRUST_INVALID', severity: 'error', message: error.message, location: at });
      }
    };
    for (const [index, key] of (rule.keys ?? []).entries()) {
      await attempt(['keys', index], async () => {
        keys.push(await readPolicyKey(key, file, readKey));
      });
    }
    let keyless: TrustRule['keyless'];
    const { identities, trustedRoot } = rule;
    if (identities !== undefined && trustedRoot !== undefined) {
      await attempt(['trustedRoot'], async () => {
        keyless = await readKeyless(identities, trustedRoot, file, readKey);
      });
    }
    const attestations = (rule.attestations ?? []).map(predicateType);
    const { signedAs } = rule;
    rules.set(pattern, {
      verdict: 'signed',
      rule: { pattern, keys, keyless, signedAs, attestations, location },
    });
  }
  if (all.some(({ severity }) => severity === 'error')) throw new FindingsError(all);
  return { file, default: value.default ?? 'reject', rules };
}

/** The rule for a repository `HOST/PATH`: the one that names it, or the longest that covers it. */
export function verdictFor({ rules, default: otherwise }: TrustPolicy, repository: string): Verdict {
  const pattern = patternsOf(repository).find((one) => rules.has(one));
  const found = pattern === undefined ? undefined : rules.get(pattern);
  return found ?? { verdict: otherwise, location: undefined };
}

/** Every pattern that a rule for `HOST/PATH` can be under: itself, then `…/*` from the longest to `HOST/*`. */
export function patternsOf(repository: string): readonly string[] {
  const parts = repository.split('/');
  const folders = parts.slice(1).map((_, index) => `${parts.slice(0, parts.length - 1 - index).join('/')}/*`);
  return [repository, ...folders];
}

/** cosign's short name of a predicate type opened; every other text is one. */
export function predicateType(name: string): string {
  return PREDICATE_NAMES[name] ?? name;
}

/** @throws IngotError */
export async function readKeyless(
  identities: readonly IdentityInput[],
  trustedRoot: string,
  file: string,
  readKey: ParsePolicyOptions['readKey'],
): Promise<NonNullable<TrustRule['keyless']>> {
  const { parseTrustedRoot } = await import('./keyless.ts');
  const text = await readKey(isAbsolute(trustedRoot) ? trustedRoot : join(dirname(file), trustedRoot));
  return { identities: identities.map(trustedIdentity), root: parseTrustedRoot(text, trustedRoot), text };
}

/** One of `subject` and `subjectRegexp` is there, by the schema. */
function trustedIdentity({ issuer, subject, subjectRegexp = '' }: IdentityInput): TrustedIdentity {
  return subject === undefined ? { issuer, subjectRegexp } : { issuer, subject };
}

async function readPolicyKey(
  key: string,
  file: string,
  readKey: ParsePolicyOptions['readKey'],
): Promise<PublicKey> {
  if (key.includes('-----BEGIN')) return parsePublicKey(key, 'the key');
  return parsePublicKey(await readKey(isAbsolute(key) ? key : join(dirname(file), key)), key);
}
