/**
 * Where an image comes from: SLSA provenance v1 (slsa.dev/spec/v1.0/provenance), made of its lock. It holds no time and
 * nothing of the machine, so that saying it twice says the same.
 */
import { digestOfJson, type Digest, hexOf, isDigest } from '../digest.ts';
import type { ManifestDocument } from '../oci/image-transfer.ts';
import { Manifest } from '../oci/schema.ts';
import type { LockedPackage } from '../packages/package.ts';
import type { Lock } from '../resolve/lock.ts';
import { SLSA_PROVENANCE } from '../trust/statement.ts';
import type { Attestation } from './sign-image.ts';

export interface Builder {
  /** A URI that names who built it: a pipeline, or Ingot itself. */
  readonly id: string;
  /** Of Ingot. */
  readonly version: string;
}

/** What the parameters of a build mean: a lock is built, and nothing else decides its bits. */
const BUILD_TYPE = 'https://ingot.dev/build/lock/v1';
export const DEFAULT_BUILDER = 'https://ingot.dev/builder/local';

interface Dependency {
  readonly name: string;
  readonly digest: { readonly sha256: string };
  readonly annotations?: Readonly<Record<string, string>>;
}

/**
 * @param locks at hand; an image whose lock is not among them names it by its digest alone
 * @returns undefined for a manifest that Ingot has not built, such as an index
 */
export function provenanceOf(
  { bytes }: ManifestDocument,
  locks: readonly Lock[],
  { id, version }: Builder,
): Attestation | undefined {
  const { data } = Manifest.safeParse(JSON.parse(bytes.toString()));
  const digest = data?.annotations?.['dev.ingot.lock'];
  if (digest === undefined || !isDigest(digest)) return undefined;
  const lock = locks.find((one) => digestOfJson(one) === digest);
  const predicate = {
    buildDefinition: {
      buildType: BUILD_TYPE,
      externalParameters: { lock: { sha256: hexOf(digest) }, ...(lock !== undefined && declarationOf(lock)) },
      resolvedDependencies: [named('lock', digest), ...(lock === undefined ? [] : dependenciesOf(lock))],
    },
    runDetails: { builder: { id, version: { ingot: version } } },
  };
  return { predicateType: SLSA_PROVENANCE, predicate };
}

function declarationOf({ name, variant, declaration, version }: Lock): object {
  return {
    declaration: { sha256: hexOf(declaration) },
    image: { name, version, ...(variant !== undefined && { variant }) },
  };
}

/** Everything that goes into the image or makes it, by digest; what is in several roots, once. */
function dependenciesOf(lock: Lock): readonly Dependency[] {
  const { base, layers, compile, tools, modules = [], containers = [], models = [], agent } = lock;
  const packages = [
    ...layers.flatMap((layer) => layer.packages),
    ...modules.map(({ source }) => source),
    ...(compile?.packages ?? []),
    ...tools.packages,
  ];
  return [
    ...(base.image === undefined ? [] : [named(base.image.reference, base.image.digest)]),
    ...layers.flatMap(({ definition }) =>
      definition === undefined ? [] : [named(`layer ${definition.name}`, definition.digest)],
    ),
    ...new Map(packages.map((one) => [one.sha256, one])).values().map(packageOf),
    ...modules.flatMap(({ patches = [] }) =>
      patches.map(({ name, sha256 }) => ({ name: `patch ${name}`, digest: { sha256 } })),
    ),
    ...containers.map(({ image, digest }) => named(image, digest)),
    ...models.map(({ artifact, digest }) => named(artifact, digest)),
    ...(agent?.files ?? []).map(({ name, digest }) => named(`agent ${name}`, digest)),
  ];
}

function packageOf({ name, version, architecture, archive, sha256 }: LockedPackage): Dependency {
  return { name: `${name}_${version}_${architecture}`, digest: { sha256 }, annotations: { archive } };
}

function named(name: string, digest: Digest): Dependency {
  return { name, digest: { sha256: hexOf(digest) } };
}
