/** The bill of materials of an image: from its lock, from what was read of it, or best from both. Pure. */
import { digestOfJson } from '../digest.ts';
import { formatOf, type LockedArchive, type LockedPackage, sourceNameOf } from '../packages/package.ts';
import type { Lock, LockedModules } from '../resolve/lock.ts';
import type { Bill, Component, ModuleBuild, Subject, Supplier } from './bill.ts';
import { parseCopyright } from './copyright.ts';
import { dependenciesOf } from './package-dependencies.ts';
import { debianPurl, ociPurl, rpmPurl } from './package-url.ts';
import { parseRpmLicence } from './rpm-licence.ts';
import type { InstalledPackage, Software } from './software.ts';

export interface BillInput {
  readonly lock?: Lock | undefined;
  readonly software?: Software | undefined;
}

export function makeBill({ lock, software }: BillInput): Bill {
  if (lock === undefined && software === undefined) throw new TypeError('a bill of nothing');
  const origin = originOf(lock, software);
  const packages = packagesOf(lock, software, origin);
  const components = [
    ...packages,
    ...(lock === undefined
      ? []
      : [...modulesOf(lock, origin), ...containersOf(lock), ...bundledModelsOf(lock), ...agentOf(lock)]),
  ].sort((left, right) => (left.id < right.id ? -1 : left.id > right.id ? 1 : 0));
  const seen = new Set(components.flatMap(({ layer }) => layer ?? []));
  const known = lock?.layers.map(({ name }) => name).filter((name) => seen.has(name)) ?? [];
  return {
    subject: subjectOf(lock, software),
    gaps: gapsOf(lock, software),
    layers: [...new Set([...known, ...[...seen].sort()])],
    components,
    dependencies: dependenciesOf(software?.packages ?? []),
  };
}

function subjectOf(lock: Lock | undefined, software: Software | undefined): Subject {
  const said = software?.annotations ?? {};
  const name = lock === undefined ? said['org.opencontainers.image.title'] : titleOf(lock);
  const locked = said['dev.ingot.lock'] as Subject['lock'];
  return {
    name: name ?? 'image',
    version: lock?.version ?? said['org.opencontainers.image.version'] ?? '0',
    description: said['org.opencontainers.image.description'],
    digest: software?.digest,
    lock: locked ?? (lock === undefined ? undefined : digestOfJson(lock)),
    architecture: lock?.base.architecture ?? software?.architecture ?? 'amd64',
    base: lock === undefined ? said['dev.ingot.base'] : `${lock.base.name}@${lock.base.release}`,
    distribution: originOf(lock, software).distribution,
    created: toSeconds(lock?.created ?? said['org.opencontainers.image.created']),
  };
}

function titleOf({ name, variant }: Lock): string {
  return variant === undefined ? name : `${name}@${variant}`;
}

/** An image may claim any time; formats want one. */
function toSeconds(time: string | undefined): string {
  const date = new Date(time ?? 0);
  return `${(Number.isNaN(date.getTime()) ? new Date(0) : date).toISOString().slice(0, 19)}Z`;
}

function gapsOf(lock: Lock | undefined, software: Software | undefined): string[] {
  return [
    ...(software === undefined
      ? ['made from the lock alone: no licences, suppliers and dependencies of packages']
      : []),
    ...(software === undefined && lock?.base.image !== undefined
      ? [`packages of the base ${lock.base.image.reference} are not listed`]
      : []),
    ...(software !== undefined && software.packages === undefined
      ? ['the image has no package database of dpkg or rpm: its packages are not listed']
      : []),
    ...(software?.packages?.some(({ format }) => format === 'rpm') === true
      ? ['what packages of rpm need of each other is not told']
      : []),
    ...(lock === undefined
      ? [
          'made without the lock: no digests of packages, built kernel modules, containers, models and agent files',
        ]
      : []),
  ];
}

/** What package URLs say of where packages are from. */
interface Origin {
  readonly vendor: string;
  readonly distribution: string | undefined;
  /** As package URLs of rpm have it: `fedora-42`. */
  readonly rpmDistribution: string | undefined;
  readonly archives: ReadonlyMap<string, LockedArchive>;
}

function originOf(lock: Lock | undefined, software: Software | undefined): Origin {
  // On sid, os-release has the code name of the next release.
  const [, release = ''] = software?.annotations['dev.ingot.base']?.split('@') ?? [];
  const codename = /^[a-z]+$/.test(release) ? release : software?.os.codename;
  return {
    vendor: lock?.base.name ?? software?.os.id ?? 'debian',
    distribution: lock?.base.suite ?? codename,
    rpmDistribution:
      software?.os.id === undefined || software.os.release === undefined
        ? undefined
        : `${software.os.id}-${software.os.release}`,
    archives: new Map(lock?.archives.map((archive) => [archive.name, archive])),
  };
}

function packagesOf(lock: Lock | undefined, software: Software | undefined, origin: Origin): Component[] {
  const locked = new Map<string, LockedPackage & { readonly layer: string }>();
  for (const { name: layer, packages } of lock?.layers ?? []) {
    for (const one of packages) locked.set(keyOf(one), { ...one, layer });
  }
  if (software?.packages !== undefined) {
    return withOwnIds(
      software.packages.map((one) => {
        const known = locked.get(keyOf(one));
        const copyright = software.copyrights.get(one.name);
        return {
          ...fromLock(one, known, origin),
          layer: known?.layer ?? software.layers.get(one.name),
          licence:
            one.format === 'rpm'
              ? parseRpmLicence(one.licence ?? '')
              : copyright === undefined
                ? undefined
                : parseCopyright(copyright),
          supplier: supplierOf(one.maintainer),
          source: one.source,
          homepage: /^https?:\/\/\S+$/.test(one.homepage ?? '') ? one.homepage : undefined,
        };
      }),
    );
  }
  return [...locked.values()].map((one) => ({
    ...fromLock(one, one, origin),
    layer: one.layer,
    source: { name: sourceNameOf(one) },
  }));
}

function keyOf({
  name,
  version,
  architecture,
}: Pick<InstalledPackage, 'name' | 'version' | 'architecture'>): string {
  return `${name} ${version} ${architecture}`;
}

function fromLock(
  one: Pick<InstalledPackage, 'name' | 'version' | 'architecture' | 'format'>,
  known: LockedPackage | undefined,
  origin: Origin,
): Component {
  const { name, version, architecture } = one;
  return {
    id: `package/${name}`,
    kind: 'package',
    name,
    version,
    architecture,
    purl: purlOf(one, known, origin),
    sha256: known?.sha256,
  };
}

/** Several versions of one package, such as kernels, are several things. */
function withOwnIds(components: readonly Component[]): Component[] {
  const seen = new Set<string>();
  return components.map((one) => {
    const id = seen.has(one.id) ? `${one.id}@${one.version ?? ''}` : one.id;
    seen.add(id);
    return { ...one, id };
  });
}

/** What a vendor's own repository has is not the distribution's, whatever it is called. */
function purlOf(
  {
    name,
    version,
    architecture,
    format,
  }: Pick<InstalledPackage, 'name' | 'version' | 'architecture' | 'format'>,
  known: LockedPackage | undefined,
  { vendor, distribution, rpmDistribution, archives }: Origin,
): string {
  const archive = known === undefined ? undefined : archives.get(known.archive);
  // What a base with dpkg configures for itself has an address too, and keys of the base: it is the distribution's.
  const isForeign = archive?.url !== undefined && archive.keys === undefined;
  const common = { name, version, architecture };
  if (format === 'rpm' || (known !== undefined && formatOf(known) === 'rpm')) {
    // Of rpm every repository has an address, the distribution's own too: who packs for it counts as its vendor.
    const repository = archive?.url?.startsWith('http') === true ? archive.url : undefined;
    return rpmPurl({ ...common, vendor, distribution: rpmDistribution, repository });
  }
  return debianPurl({
    ...common,
    vendor: isForeign ? archive.name : vendor,
    distribution,
    repository: isForeign ? archive.url : undefined,
  });
}

/** `Debian Bash Team <bash@packages.debian.org>` */
function supplierOf(maintainer: string | undefined): Supplier | undefined {
  const [, name, email] = /^([^<]*?)\s*(?:<([^>]*)>.*)?$/.exec(maintainer?.trim() ?? '') ?? [];
  if (name === undefined || name === '') return undefined;
  return { name, ...(email !== undefined && email !== '' && { email }) };
}

function modulesOf(lock: Lock, origin: Origin): Component[] {
  const { kernel, modules = [], compile, base } = lock;
  const tools = (compile?.packages ?? [])
    .filter(({ name }) => /^(?:gcc-\d+|linux-headers-.*|make|dwarves|pahole)$/.test(name))
    .map(({ name, version, sha256 }) => ({ name, version, sha256 }));
  return modules.flatMap((one): Component[] => {
    const { source, layer } = one;
    const from = `source/${source.name}`;
    return [
      {
        id: `kernel-modules/${layer}/${source.name}`,
        kind: 'kernel-modules',
        name: `${source.name} for ${kernel.release}`,
        version: source.version,
        architecture: base.architecture,
        layer,
        build: { from, kernel: kernel.release, flavour: one.flavour, patches: patchesOf(one), tools },
      },
      {
        id: from,
        kind: 'source',
        name: source.name,
        version: source.version,
        architecture: source.architecture,
        purl: purlOf(source, source, origin),
        sha256: source.sha256,
        source: { name: sourceNameOf(source) },
      },
    ];
  });
}

function patchesOf({ patches = [] }: LockedModules): ModuleBuild['patches'] {
  return patches.map(({ name, sha256 }) => ({ name, sha256 }));
}

function containersOf({ containers = [] }: Lock): Component[] {
  return containers.map(({ layer, name, image, tag, digest }) => ({
    id: `container/${name}`,
    kind: 'container',
    name: image,
    version: tag,
    purl: ociPurl(image, digest, tag),
    layer,
    sha256: digest.slice('sha256:'.length),
  }));
}

function bundledModelsOf({ models = [] }: Lock): Component[] {
  return models.map(({ name, artifact, tag, digest }) => ({
    id: `model/${name}`,
    kind: 'model',
    name: artifact,
    version: tag,
    purl: ociPurl(artifact, digest, tag),
    sha256: digest.slice('sha256:'.length),
  }));
}

function agentOf({ agent }: Lock): Component[] {
  return (agent?.files ?? []).map(({ name, digest }) => ({
    id: `agent-file/${name}`,
    kind: 'agent-file',
    name,
    version: name === 'node' ? agent?.node : agent?.version,
    layer: agent?.layer,
    sha256: digest.slice('sha256:'.length),
  }));
}
