/** `ingot verify`: whether an image is signed by whom it should be. */
import { Command } from 'commander';
import { resolve } from 'node:path';

import { type Digest, hexOf } from '../../digest.ts';
import { IngotError, type Location } from '../../errors.ts';
import { parseImageReference } from '../../oci/reference.ts';
import { type ImageLocation, openSource, parseLocation, wantedOf } from '../../publish/location.ts';
import { type Verification, type VerifiedManifest, verifyImage } from '../../publish/verify-image.ts';
import { formatTable } from '../../report/format.ts';
import { isRegExp } from '../../spec/update-schema.ts';
import { predicateType, verdictFor } from '../../trust/policy.ts';
import type { CertificateIdentity } from '../../trust/identity.ts';
import type { KeylessTrust } from '../../trust/keyless.ts';
import type { PublicKey } from '../../trust/public-key.ts';
import type { Bind, CommandContext, CommandResult } from '../context.ts';
import { addRegistryOptions, collect, openRegistries, type RegistryOptions } from '../registry-options.ts';
import { readKeyFile, readPublicKeys } from '../signing-key.ts';
import { findTrustFile, loadTrustPolicy } from '../trust-file.ts';

interface VerifyFlags extends RegistryOptions {
  readonly key?: readonly string[];
  readonly certificateIdentity?: string;
  readonly certificateIdentityRegexp?: string;
  readonly certificateOidcIssuer?: string;
  readonly trustedRoot?: string;
  readonly policy?: string;
  readonly as?: string;
  readonly type?: readonly string[];
}

/** What an image must have, and who says so. */
type Demand =
  | { readonly verdict: 'accept' | 'reject'; readonly policy: Location }
  | {
      readonly verdict: 'signed';
      readonly keys: readonly PublicKey[];
      readonly keyless?: KeylessTrust | undefined;
      readonly repository: string | undefined;
      readonly attestations: readonly string[];
      readonly policy?: Location;
    };

export function verifyCommand(bind: Bind): Command {
  const command = new Command('verify')
    .description('Check that an image is signed by a key that is trusted. Fetches no layer.')
    .argument('<image>', 'HOST/PATH:TAG, oci:DIRECTORY[:NAME] or oci-archive:FILE[:NAME]')
    .option('--key <file>', 'public key that is trusted; one of several is enough (repeatable)', collect)
    .option('--certificate-identity <subject>', 'who may sign without a key: an email address, or a URI')
    .option('--certificate-identity-regexp <re>', 'the same by a regular expression for the whole of it')
    .option('--certificate-oidc-issuer <url>', 'who must have vouched for that identity')
    .option('--trusted-root <file>', 'authorities and logs that its certificate is checked against')
    .option('--policy <file>', 'rules by repository (default: trust.yaml here or in a folder above)')
    .option('--as <ref>', 'name that it must be signed under, HOST/PATH (default: the one in the registry)')
    .option(
      '--type <type>',
      'attestation that must be there too, such as slsaprovenance1 (repeatable)',
      collect,
    );
  return addRegistryOptions(command)
    .addHelpText(
      'after',
      `
Examples:
  ingot verify registry.example.com/ai/node:1.0 --key cosign.pub
  ingot verify registry.example.com/ai/node:1.0 --policy trust.yaml
  ingot verify oci-archive:node.tar --as registry.example.com/ai/node --key cosign.pub
  ingot verify registry.example.com/ai/node:1.0 --key cosign.pub --type slsaprovenance1 --json

Exit code 1 when it is not trusted.
`,
    )
    .action(bind(verify));
}

async function verify(context: CommandContext, text: string, flags: VerifyFlags): Promise<CommandResult> {
  const { signal, cwd } = context;
  const location = parseLocation(text, cwd);
  const demand = await demandOf(context, location, text, flags);
  await using registries = await openRegistries(context, flags);
  await using source = await openSource(location, registries);
  const policy = demand.policy === undefined ? {} : { policy: demand.policy };
  if (demand.verdict !== 'signed') {
    const { descriptor } = await source.manifest(wantedOf(location), { signal });
    const isAccepted = demand.verdict === 'accept';
    const { file, line } = demand.policy;
    return {
      json: {
        ref: text,
        digest: descriptor.digest,
        verdict: isAccepted ? 'accepted' : 'refused',
        ...policy,
        manifests: [],
        missing: [],
      },
      text: `${isAccepted ? 'accepted without a signature' : 'refused'}: ${text}, by ${file}:${line}`,
      exitCode: isAccepted ? 0 : 1,
    };
  }
  const { keys, keyless, repository, attestations } = demand;
  const verification = await verifyImage(source, wantedOf(location), {
    keys,
    keyless,
    repository,
    attestations,
    signal,
  });
  const { digest, trusted, manifests, missing } = verification;
  return {
    json: {
      ref: text,
      digest,
      verdict: trusted ? 'trusted' : 'refused',
      ...policy,
      ...(repository !== undefined && { repository }),
      keys: keys.map(({ fingerprint }) => fingerprint),
      ...(keyless !== undefined && { identities: keyless.identities }),
      manifests,
      missing,
    },
    text: renderVerification(text, verification),
    exitCode: trusted ? 0 : 1,
  };
}

/** @throws IngotError USAGE, FindingsError TRUST_INVALID */
async function demandOf(
  { cwd }: CommandContext,
  location: ImageLocation,
  text: string,
  flags: VerifyFlags,
): Promise<Demand> {
  const asked = (flags.type ?? []).map(predicateType);
  const own = location.kind === 'registry' ? location.reference : undefined;
  const named = flags.as === undefined ? own : parseImageReference(flags.as);
  const repository = named === undefined ? undefined : `${named.registry}/${named.repository}`;
  const keyless = await keylessOf(cwd, flags);
  if (flags.key !== undefined || keyless !== undefined) {
    if (flags.policy !== undefined) {
      throw new IngotError(
        'USAGE',
        '--key or --certificate-identity, and --policy, both say what is trusted',
        {
          hint: 'give one of them',
        },
      );
    }
    const keys = await readPublicKeys({ cwd }, flags.key ?? []);
    return { verdict: 'signed', keys, keyless, repository, attestations: asked };
  }
  const file = flags.policy === undefined ? await findTrustFile(cwd) : resolve(cwd, flags.policy);
  if (file === undefined) {
    throw new IngotError('USAGE', 'nothing says which keys are trusted', {
      hint: 'name one with --key FILE, or write a trust.yaml',
    });
  }
  const policy = await loadTrustPolicy(file, cwd);
  // Rules are for the place that the image is at; its signatures may name another.
  const place = own === undefined ? repository : `${own.registry}/${own.repository}`;
  if (place === undefined) {
    throw new IngotError('USAGE', `${policy.file} has rules by repository, and ${text} is in none`, {
      hint: 'say which it stands for: --as registry.example.com/ai/node',
    });
  }
  const found = verdictFor(policy, place);
  if (found.verdict !== 'signed') {
    return { verdict: found.verdict, policy: found.location ?? { file: policy.file, line: 1, column: 1 } };
  }
  const { rule } = found;
  return {
    verdict: 'signed',
    keys: rule.keys,
    keyless: rule.keyless,
    repository: flags.as === undefined ? (rule.signedAs ?? repository) : repository,
    attestations: [...new Set([...rule.attestations, ...asked])],
    policy: rule.location,
  };
}

const FORMS = { bundle: 'bundle', 'simple-signing': 'host' } as const;

function renderVerification(text: string, { digest, trusted, manifests, missing }: Verification): string {
  const root = manifests.at(-1);
  const rows = manifests.flatMap((manifest) => {
    const title = titleOf(manifest, manifest === root && manifests.length > 1);
    const rowsOf = [
      ...manifest.accepted.map(({ form, key, certificate, identity }) => [
        FORMS[form],
        nameOf(key, certificate),
        identity ?? 'any name',
      ]),
      ...manifest.attestations.map(({ predicateType: type, key, certificate }) => [
        type,
        nameOf(key, certificate),
        '',
      ]),
    ];
    if (rowsOf.length > 0) return rowsOf.map((cells, index) => [index === 0 ? title : '', ...cells]);
    const isCovered = manifest !== root && (root?.accepted.length ?? 0) > 0;
    return [[title, isCovered ? 'none of its own; the index names it' : 'none', '', '']];
  });
  const columns = [
    { title: 'IMAGE' },
    { title: 'SIGNATURE' },
    { title: 'KEY OR IDENTITY' },
    { title: 'SIGNED AS' },
  ];
  const refused = manifests.flatMap((manifest) =>
    manifest.refused.map(
      ({ form, message, digest: which }) =>
        `not counted, ${titleOf(manifest, false)}, ${FORMS[form]} ${which === undefined ? '' : short(which)}: ${message}`,
    ),
  );
  return [
    `${trusted ? 'trusted' : 'refused'}: ${text}`,
    digest,
    '',
    formatTable(columns, rows),
    ...(refused.length === 0 ? [] : ['', ...refused]),
    ...missing.map((type) => `missing: an attestation ${type}`),
  ].join('\n');
}

function titleOf({ digest, platform }: VerifiedManifest, isIndex: boolean): string {
  const what = isIndex
    ? 'index'
    : platform === undefined
      ? 'image'
      : `${platform.os}/${platform.architecture}`;
  return `${what} ${short(digest)}`;
}

function nameOf(key: Digest | undefined, certificate: CertificateIdentity | undefined): string {
  return key === undefined ? (certificate?.subject ?? '') : short(key);
}

/** @throws IngotError USAGE */
async function keylessOf(cwd: string, flags: VerifyFlags): Promise<KeylessTrust | undefined> {
  const { certificateIdentity: subject, certificateIdentityRegexp: subjectRegexp } = flags;
  const { certificateOidcIssuer: issuer, trustedRoot } = flags;
  if ([subject, subjectRegexp, issuer, trustedRoot].every((one) => one === undefined)) return undefined;
  if (
    issuer === undefined ||
    trustedRoot === undefined ||
    (subject === undefined) === (subjectRegexp === undefined)
  ) {
    throw new IngotError('USAGE', 'an identity is a subject and its issuer, checked against a trusted root', {
      hint: 'give --certificate-identity (or -regexp), --certificate-oidc-issuer and --trusted-root',
    });
  }
  if (subjectRegexp !== undefined && !isRegExp(subjectRegexp)) {
    throw new IngotError('USAGE', '--certificate-identity-regexp is no regular expression');
  }
  const { parseTrustedRoot } = await import('../../trust/keyless.ts');
  const text = (await readKeyFile(resolve(cwd, trustedRoot), trustedRoot)).toString();
  const identity =
    subject === undefined ? { issuer, subjectRegexp: subjectRegexp ?? '' } : { issuer, subject };
  return { identities: [identity], root: parseTrustedRoot(text, trustedRoot) };
}

function short(digest: Digest): string {
  return hexOf(digest).slice(0, 12);
}
