/**
 * What an image takes as its next one, out of `update` of its declaration and the project's `trust.yaml`; and whether
 * that would lock its nodes out: image N decides what may become N+1, and a node that takes nothing more can only be
 * mended by hand.
 */
import { dirname, isAbsolute, join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';

import { type Digest, hexOf } from '../digest.ts';
import { type ErrorCode, type Finding, FindingsError, IngotError, type Location } from '../errors.ts';
import type {
  HostPolicy,
  HostRule,
  PolicyReader,
  TrustedIdentity,
  UpdateInput,
  Updater,
} from '../spec/update-schema.ts';
import { hostIdentity } from './host-identity.ts';
import type { KeylessTrust } from './keyless.ts';
import {
  predicateType,
  readKeyless,
  type TrustPolicy,
  type TrustRule,
  type Verdict,
  verdictFor,
} from './policy.ts';
import { type PublicKey, parsePublicKey, renderPublicKey } from './public-key.ts';
import { repositoryOf } from './simple-signing.ts';

export interface UpdatePolicyOptions {
  /**
   * Text of a key's file.
   *
   * @throws IngotError when it cannot be read; its message becomes the finding.
   */
  readonly readKey: (path: string) => Promise<string>;
  /**
   * The `trust.yaml` that holds for a declaration's file, if there is one.
   *
   * @throws IngotError, FindingsError
   */
  readonly project: (declaration: string) => Promise<TrustPolicy | undefined>;
  readonly now: () => Date;
}

export function updatePolicyReader(options: UpdatePolicyOptions): PolicyReader {
  return (update, at, updater) => new UpdatePolicy(update, at, updater, options).read();
}

type Place = Parameters<PolicyReader>[1];

class UpdatePolicy {
  readonly #update: UpdateInput;
  readonly #at: Place;
  readonly #updater: Updater;
  readonly #options: UpdatePolicyOptions;
  readonly #repository: string;
  readonly #findings: Finding[] = [];

  constructor(update: UpdateInput, at: Place, updater: Updater, options: UpdatePolicyOptions) {
    this.#update = update;
    this.#at = at;
    this.#updater = updater;
    this.#options = options;
    this.#repository = repositoryOf(update.source);
  }

  async read(): ReturnType<PolicyReader> {
    const project = await this.#readProject();
    const own = await this.#readVerify();
    const signer = await this.#readSigner();
    const findings = this.#findings;
    if (findings.some(({ severity }) => severity === 'error')) return { findings };
    const theirs = project === undefined ? undefined : verdictFor(project, this.#repository);
    this.#checkProject(own, theirs);
    if (own === undefined && theirs === undefined) return { findings };
    const rule = own ?? (theirs?.verdict === 'signed' ? theirs.rule : undefined);
    if (rule !== undefined) this.#checkSigners(rule, theirs, signer);
    if (rule?.keyless !== undefined) await this.#checkRoot(rule.location, rule.keyless);
    const policy = composePolicy(this.#repository, own, project);
    this.#checkScopes(policy, project);
    return { policy, findings };
  }

  async #readProject(): Promise<TrustPolicy | undefined> {
    const { file } = this.#at([]);
    try {
      return await this.#options.project(file);
    } catch (error) {
      if (error instanceof FindingsError) this.#findings.push(...error.findings);
      else if (error instanceof IngotError) this.#refuse(error.code, error.message, []);
      else throw error;
      return undefined;
    }
  }

  async #readVerify(): Promise<TrustRule | undefined> {
    const { verify } = this.#update;
    if (verify === undefined) return undefined;
    const written: readonly (readonly [string, readonly (string | number)[]])[] =
      verify.key === undefined
        ? (verify.keys ?? []).map((key, index) => [key, ['verify', 'keys', index]] as const)
        : [[verify.key, ['verify', 'key']]];
    const keys: PublicKey[] = [];
    for (const [key, path] of written) {
      const read = await this.#readKey(key, path);
      if (read !== undefined) keys.push(read);
    }
    return {
      pattern: this.#repository,
      keys,
      keyless: await this.#readKeyless(verify),
      signedAs: verify.signedAs,
      attestations: (verify.attestations ?? []).map(predicateType),
      location: this.#at(['verify']),
    };
  }

  async #readKeyless({
    identities,
    trustedRoot,
  }: NonNullable<UpdateInput['verify']>): Promise<TrustRule['keyless']> {
    if (identities === undefined || trustedRoot === undefined) return undefined;
    const path = ['verify', 'trustedRoot'] as const;
    try {
      return await readKeyless(identities, trustedRoot, this.#at(path).file, this.#options.readKey);
    } catch (error) {
      if (!(error instanceof IngotError)) throw error;
      this.#refuse('SPEC_INVALID', error.message, path);
      return undefined;
    }
  }

  async #readSigner(): Promise<PublicKey | undefined> {
    const { signer } = this.#update;
    return signer === undefined ? undefined : this.#readKey(signer, ['signer']);
  }

  async #readKey(key: string, path: readonly (string | number)[]): Promise<PublicKey | undefined> {
    const { file } = this.#at(path);
    try {
      if (key.includes('-----BEGIN')) return parsePublicKey(key, 'the key');
      const from = isAbsolute(key) ? key : join(dirname(file), key);
      return parsePublicKey(await this.#options.readKey(from), key);
    } catch (error) {
      if (!(error instanceof IngotError)) throw error;
      this.#refuse('SPEC_INVALID', error.message, path);
      return undefined;
    }
  }

  /** What `trust.yaml` says of the source, where that alone locks nodes out or lets everything in. */
  #checkProject(own: TrustRule | undefined, theirs: Verdict | undefined): void {
    const source = this.#repository;
    if (theirs === undefined && own === undefined) {
      this.#warn(
        `nothing says who must sign ${source}: nodes would take whatever is there. Name a key in verify`,
      );
    } else if (theirs?.verdict === 'reject' && (own === undefined || theirs.location !== undefined)) {
      const by = theirs.location === undefined ? 'its default' : placeOf(theirs.location);
      const whose =
        own === undefined ? 'nodes could never update' : 'what is published could not be verified';
      this.#refuse('UPDATE_LOCKOUT', `trust.yaml refuses ${source}, by ${by}: ${whose}`, ['source']);
    } else if (theirs?.verdict === 'accept' && own === undefined) {
      this.#warn(`trust.yaml accepts ${source} without a signature: nodes would take whatever is there`);
    }
  }

  /** Everyone who may sign the next image must be one whom this image would take it from. */
  #checkSigners(rule: TrustRule, theirs: Verdict | undefined, signer: PublicKey | undefined): void {
    const source = this.#repository;
    const project = theirs?.verdict === 'signed' ? theirs.rule : undefined;
    if (rule.keys.length === 0 && hostIdentity(identitiesOf(rule)) === undefined) {
      const message = `${placeOf(rule.location)} trusts identities for ${source} that podman and bootc on nodes cannot verify: they know one email address`;
      if (this.#updater === 'agent')
        this.#warn(`${message}; only \`ingot node upgrade\` takes the next image`);
      else
        this.#refuse('UPDATE_LOCKOUT', `${message}: add the key that it is signed with besides`, ['source']);
    }
    if (this.#updater !== 'agent' && rule.keys.length > 0 && rule.keyless !== undefined) {
      this.#warn(
        `${placeOf(rule.location)} names keys and identities for ${source}: podman and bootc on nodes know one way, and take what the keys sign alone`,
      );
    }
    if (signer !== undefined) {
      if (!holds(rule, signer)) {
        const whose = rule.location.file === this.#at([]).file ? 'verify' : placeOf(rule.location);
        const message = `nodes would refuse what ${nameOf(signer)} signs: ${whose} has ${namesOf(rule)}`;
        this.#refuse('UPDATE_LOCKOUT', message, ['signer']);
      }
      if (project !== undefined && !holds(project, signer) && project !== rule) {
        const message = `what ${nameOf(signer)} signs could not be published: ${placeOf(project.location)} has ${namesOf(project)}`;
        this.#refuse('UPDATE_LOCKOUT', message, ['signer']);
      }
    } else if (project !== undefined && project !== rule) {
      for (const key of project.keys.filter((one) => !holds(rule, one))) {
        this.#refuse(
          'UPDATE_LOCKOUT',
          `${placeOf(project.location)} lets ${nameOf(key)} sign ${source}, and nodes would refuse that: add the key to verify, or say with signer who signs`,
          ['verify'],
        );
      }
      const known = rule.keyless?.identities ?? [];
      const identities = project.keyless?.identities ?? [];
      for (const one of identities.filter((each) => !known.some((other) => isDeepStrictEqual(each, other)))) {
        this.#refuse(
          'UPDATE_LOCKOUT',
          `${placeOf(project.location)} lets ${nameOfIdentity(one)} sign ${source}, and nodes would refuse that: add it to verify, or say with signer which key signs`,
          ['verify'],
        );
      }
    }
    const names = ({ signedAs = source }: TrustRule): string => signedAs;
    if (project !== undefined && names(project) !== names(rule)) {
      const message = `nodes want signatures for ${names(rule)}, and ${placeOf(project.location)} wants them for ${names(project)}`;
      this.#refuse('UPDATE_LOCKOUT', message, ['verify']);
    }
  }

  /** Authorities that are over give no certificate that the next image could be signed with. */
  async #checkRoot(location: Location, { root }: KeylessTrust): Promise<void> {
    const { isRootAlive } = await import('./keyless.ts');
    if (isRootAlive(root, this.#options.now())) return;
    this.#findings.push({
      code: 'UPDATE_LOCKOUT',
      severity: 'error',
      message: `every authority in the trusted root for ${this.#repository} is over: nobody can sign by an identity any more`,
      location,
    });
  }

  /** A scope of the policy of containers is a repository and all below it; two rules for one scope cannot be kept. */
  #checkScopes({ repositories }: HostPolicy, project: TrustPolicy | undefined): void {
    for (const [pattern, rule] of Object.entries(repositories)) {
      const below = repositories[`${pattern}/*`];
      if (below === undefined || isDeepStrictEqual(below, rule)) continue;
      const verdict = project?.rules.get(`${pattern}/*`);
      const location = verdict?.verdict === 'signed' ? verdict.rule.location : verdict?.location;
      this.#findings.push({
        code: 'TRUST_INVALID',
        severity: 'error',
        message: `podman and bootc on nodes cannot hold one rule for ${pattern} and another for ${pattern}/*: name what is below it one by one`,
        location: location ?? this.#at(['verify']),
      });
    }
  }

  #refuse(code: ErrorCode, message: string, path: readonly (string | number)[]): void {
    this.#findings.push({ code, severity: 'error', message, location: this.#at(path) });
  }

  #warn(message: string): void {
    const location = this.#at(['source']);
    this.#findings.push({ code: 'UPDATE_LOCKOUT', severity: 'warning', message, location });
  }
}

/** The project's rules, and the declaration's own in the place of theirs for the source. */
function composePolicy(
  source: string,
  own: TrustRule | undefined,
  project: TrustPolicy | undefined,
): HostPolicy {
  const repositories: Record<string, HostRule> = {};
  for (const [pattern, verdict] of project?.rules ?? []) {
    repositories[pattern] = verdict.verdict === 'signed' ? hostRule(verdict.rule) : verdict.verdict;
  }
  if (own !== undefined) repositories[source] = hostRule(own);
  return { default: project?.default ?? 'reject', repositories };
}

function hostRule({ keys, keyless, signedAs, attestations }: TrustRule): HostRule {
  return {
    keys: keys.map(renderPublicKey),
    ...identitiesOf({ keyless }),
    ...(signedAs !== undefined && { signedAs }),
    ...(attestations.length > 0 && { attestations }),
  };
}

function identitiesOf({
  keyless,
}: Pick<TrustRule, 'keyless'>): Pick<Exclude<HostRule, string>, 'identities' | 'trustedRoot'> {
  return keyless === undefined ? {} : { identities: keyless.identities, trustedRoot: keyless.text };
}

function holds({ keys }: TrustRule, key: PublicKey): boolean {
  return keys.some(({ fingerprint }) => fingerprint === key.fingerprint);
}

/** As `ingot key show` begins. */
function shortOf(fingerprint: Digest): string {
  return hexOf(fingerprint).slice(0, 12);
}

function nameOf({ fingerprint }: PublicKey): string {
  return `the key ${shortOf(fingerprint)}`;
}

function namesOf({ keys, keyless }: TrustRule): string {
  const people = (keyless?.identities ?? []).map(nameOfIdentity);
  return [...keys.map(({ fingerprint }) => shortOf(fingerprint)), ...people].join(', ');
}

function nameOfIdentity(identity: TrustedIdentity): string {
  return JSON.stringify('subject' in identity ? identity.subject : identity.subjectRegexp);
}

function placeOf({ file, line }: Location): string {
  return `${file}:${line}`;
}
