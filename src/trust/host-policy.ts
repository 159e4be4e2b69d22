/**
 * An image's policy as its node finds it: for skopeo, podman and bootc (containers-policy.json(5),
 * containers-registries.d(5)), and for Ingot as `trust.yaml`. Keys lie under /usr, so that a new image brings new ones
 * also where the policy in /etc was changed on the node.
 */
import { stringify } from 'yaml';

import { digestOf, hexOf } from '../digest.ts';
import {
  ATTACHMENTS_PATH,
  CONTAINERS_POLICY_PATH,
  type HostPolicy,
  type HostRule,
  TRUST_FOLDER,
  UPDATE_PATH,
  type UpdateSource,
} from '../spec/update-schema.ts';
import { type HostIdentity, hostIdentity } from './host-identity.ts';
import { patternsOf } from './policy.ts';
import { parsePublicKey } from './public-key.ts';

export interface PolicyFile {
  readonly path: string;
  readonly content: string;
}

type SignedRule = Exclude<HostRule, string>;

/** What a node runs by digest: as good as its own image, which names it. */
export interface PinnedImage {
  /** `HOST/PATH`. */
  readonly image: string;
  readonly digest: string;
}

export function hostPolicyFiles(
  { source, tries, policy, unattended }: UpdateSource,
  pinned: readonly PinnedImage[] = [],
): readonly PolicyFile[] {
  const settings = {
    source,
    ...(tries !== undefined && { tries }),
    ...(unattended !== undefined && { unattended }),
  };
  const files = [{ path: UPDATE_PATH, content: json(settings) }];
  if (policy === undefined) return files;
  const keys = new Map(allKeys(policy).map((pem) => [`${TRUST_FOLDER}/${keyFile(pem)}`, pem]));
  return [
    ...files,
    { path: CONTAINERS_POLICY_PATH, content: json(containersPolicy(policy, pinned)) },
    { path: ATTACHMENTS_PATH, content: attachments(policy) },
    { path: `${TRUST_FOLDER}/trust.yaml`, content: trustYaml(policy) },
    ...[...keys].sort().map(([path, content]) => ({ path, content })),
    ...trustedRoots(policy),
    ...authorities(policy),
  ];
}

/** The rule for a repository: the one that names it, or the longest that covers it. */
export function hostRuleFor({ repositories }: HostPolicy, repository: string): HostRule | undefined {
  const pattern = patternsOf(repository).find((one) => Object.hasOwn(repositories, one));
  return pattern === undefined ? undefined : repositories[pattern];
}

/** The policy with fingerprints for keys: what others need to know of it. */
export function describePolicy({ default: otherwise, repositories }: HostPolicy): object {
  const rules = Object.entries(repositories).map(([pattern, rule]) => [
    pattern,
    typeof rule === 'string' ? rule : describeRule(rule),
  ]);
  return { default: otherwise, repositories: Object.fromEntries(rules) as object };
}

function describeRule({ keys, trustedRoot: _, ...rest }: SignedRule): object {
  return { keys: keys.map(fingerprintOf), ...rest };
}

function containersPolicy(policy: HostPolicy, pinned: readonly PinnedImage[]): object {
  const scopes = Object.entries(policy.repositories).map(
    ([pattern, rule]) => [scopeOf(pattern), [requirement(rule)]] as const,
  );
  // A scope of one digest: nothing else can ever be in it.
  const exact = pinned
    .filter(({ image }) => hostRuleFor(policy, image) === undefined)
    .map(({ image, digest }) => [`${image}@${digest}`, [ACCEPT]] as const);
  return {
    default: [policy.default === 'accept' ? ACCEPT : REJECT],
    transports: { docker: Object.fromEntries([...scopes, ...exact].sort(byName)) },
  };
}

const ACCEPT = { type: 'insecureAcceptAnything' };
const REJECT = { type: 'reject' };

function requirement(rule: HostRule): object {
  if (rule === 'accept') return ACCEPT;
  if (rule === 'reject') return REJECT;
  // No policy says two ways to be accepted: where there are keys, these are the way.
  const identity = rule.keys.length === 0 ? hostIdentity(rule) : undefined;
  if (rule.keys.length === 0 && identity === undefined) return REJECT;
  const paths = rule.keys.map((pem) => `${TRUST_FOLDER}/${keyFile(pem)}`);
  return {
    type: 'sigstoreSigned',
    ...(identity === undefined ? oneOrMore('keyPath', paths) : certified(identity)),
    // Any tag of it, as `ingot verify` does: a tag may have been moved after signing.
    signedIdentity:
      rule.signedAs === undefined
        ? { type: 'matchRepository' }
        : { type: 'exactRepository', dockerRepository: rule.signedAs },
  };
}

/** Builds before 2025 know one key alone, under this name. */
function oneOrMore(name: string, paths: readonly string[]): object {
  return paths.length === 1 ? { [name]: paths[0] } : { [`${name}s`]: paths };
}

function certified({ issuer, email, authorities: roots, logs }: HostIdentity): object {
  return {
    fulcio: { caPath: `${TRUST_FOLDER}/${authorityFile(roots)}`, oidcIssuer: issuer, subjectEmail: email },
    ...oneOrMore(
      'rekorPublicKeyPath',
      logs.map((pem) => `${TRUST_FOLDER}/${logFile(pem)}`),
    ),
  };
}

/** In the policy of containers a scope is a repository and all below it. */
function scopeOf(pattern: string): string {
  return pattern.replace(/\/\*$/, '');
}

/** Where signatures lie: beside the image, as cosign puts them. */
function attachments({ repositories }: HostPolicy): string {
  const scopes = Object.entries(repositories)
    .filter(([, rule]) => typeof rule !== 'string')
    .map(([pattern]) => [scopeOf(pattern), { 'use-sigstore-attachments': true }] as const);
  return stringify({ docker: Object.fromEntries(scopes.sort(byName)) });
}

function trustYaml({ default: otherwise, repositories }: HostPolicy): string {
  const rules = Object.entries(repositories).map(
    ([pattern, rule]) => [pattern, typeof rule === 'string' ? rule : writtenRule(rule)] as const,
  );
  return stringify({ default: otherwise, repositories: Object.fromEntries(rules.sort(byName)) });
}

function writtenRule({ keys, trustedRoot, ...rest }: SignedRule): object {
  return {
    ...(keys.length > 0 && { keys: keys.map(keyFile) }),
    ...rest,
    ...(trustedRoot !== undefined && { trustedRoot: rootFile(trustedRoot) }),
  };
}

function trustedRoots({ repositories }: HostPolicy): readonly PolicyFile[] {
  const texts = Object.values(repositories).flatMap((rule) =>
    typeof rule === 'string' || rule.trustedRoot === undefined ? [] : [rule.trustedRoot],
  );
  return [...new Set(texts)]
    .sort()
    .map((content) => ({ path: `${TRUST_FOLDER}/${rootFile(content)}`, content }));
}

/** Of identities that the policy of containers can hold: its certificates and keys of logs. */
function authorities({ repositories }: HostPolicy): readonly PolicyFile[] {
  const files = new Map<string, string>();
  for (const rule of Object.values(repositories)) {
    const identity = typeof rule === 'string' || rule.keys.length > 0 ? undefined : hostIdentity(rule);
    if (identity === undefined) continue;
    files.set(authorityFile(identity.authorities), identity.authorities);
    for (const log of identity.logs) files.set(logFile(log), log);
  }
  return [...files].sort(byName).map(([name, content]) => ({ path: `${TRUST_FOLDER}/${name}`, content }));
}

function rootFile(text: string): string {
  return `${nameOf(text)}.trusted-root.json`;
}

function authorityFile(pem: string): string {
  return `${nameOf(pem)}.fulcio.pem`;
}

function logFile(pem: string): string {
  return `${nameOf(pem)}.rekor.pem`;
}

function nameOf(text: string): string {
  return hexOf(digestOf(text)).slice(0, 16);
}

function allKeys({ repositories }: HostPolicy): readonly string[] {
  return Object.values(repositories).flatMap((rule) => (typeof rule === 'string' ? [] : rule.keys));
}

/** Named by what it is, so that the order of a list does not matter. */
function keyFile(pem: string): string {
  return `${hexOf(fingerprintOf(pem)).slice(0, 16)}.pub`;
}

function fingerprintOf(pem: string): ReturnType<typeof parsePublicKey>['fingerprint'] {
  return parsePublicKey(pem, 'the key').fingerprint;
}

function byName([one]: readonly [string, unknown], [other]: readonly [string, unknown]): number {
  return one < other ? -1 : 1;
}

function json(value: object): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
