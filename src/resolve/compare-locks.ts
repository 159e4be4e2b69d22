/** What moved between two locks. Pure. */
import { compareDebVersions, isDebVersion } from '../packages/deb-version.ts';
import { formatOf, type LockedPackage, type PackageFormat } from '../packages/package.ts';
import { compareRpmVersions } from '../packages/rpm/rpm-version.ts';
import { buildOf, shortened } from './lock-agent.ts';
import type { Lock, LockedModel } from './lock.ts';

export interface PackageChange {
  readonly name: string;
  readonly from: string;
  readonly to: string;
}

export interface LockChanges {
  readonly added: readonly { readonly name: string; readonly version: string }[];
  readonly removed: readonly { readonly name: string; readonly version: string }[];
  /** Another version, or the same version with other content. */
  readonly changed: readonly PackageChange[];
}

/** Something that a person knows by name and that came, went or moved. */
export interface Move {
  readonly what:
    'base' | 'kernel' | 'driver' | 'modules' | 'cuda' | 'runtime' | 'container' | 'model' | 'agent' | 'facts';
  readonly name: string;
  /** Undefined when it was not there. */
  readonly from?: string;
  /** Undefined when it is gone. */
  readonly to?: string;
}

export interface LockDifference extends LockChanges {
  readonly moves: readonly Move[];
  /** Names of the changed packages whose new version comes from a security archive. */
  readonly security: readonly string[];
  /** Names of the changed packages whose new version is older. */
  readonly older: readonly string[];
  /** Bytes of all packages, before and after. */
  readonly bytes: { readonly from: number; readonly to: number };
}

/** Changes of the image's own packages, in name order. Against nothing, everything is added. */
export function compareLocks(before: Lock | undefined, after: Lock): LockChanges {
  return comparePackages(imagePackages(before), imagePackages(after));
}

/** The same of the tools root. */
export function compareTools(before: Lock | undefined, after: Lock): LockChanges {
  return comparePackages(before?.tools.packages ?? [], after.tools.packages);
}

/** Everything that differs, the things that have names of their own first. */
export function differenceOf(before: Lock, after: Lock): LockDifference {
  const changes = compareLocks(before, after);
  const fresh = new Map(imagePackages(after).map((item) => [item.name, item]));
  return {
    moves: movesBetween(before, after),
    ...changes,
    security: changes.changed.flatMap(({ name }) =>
      /(?:^|-)security$/.test(fresh.get(name)?.archive ?? '') ? [name] : [],
    ),
    older: changes.changed.flatMap(({ name, from, to }) => {
      const item = fresh.get(name);
      return isOlder(to, from, item === undefined ? 'deb' : formatOf(item)) ? [name] : [];
    }),
    bytes: { from: bytesOf(before), to: bytesOf(after) },
  };
}

export function imagePackages(lock: Lock | undefined): readonly LockedPackage[] {
  return (lock?.layers ?? []).flatMap((layer) => layer.packages);
}

function comparePackages(before: readonly LockedPackage[], after: readonly LockedPackage[]): LockChanges {
  const old = new Map(before.map((item) => [item.name, item]));
  const fresh = new Map(after.map((item) => [item.name, item]));
  const names = [...new Set([...old.keys(), ...fresh.keys()])].sort();
  const nameAndVersion = (item: LockedPackage | undefined): { name: string; version: string }[] =>
    item === undefined ? [] : [{ name: item.name, version: item.version }];
  return {
    added: names.flatMap((name) => (old.has(name) ? [] : nameAndVersion(fresh.get(name)))),
    removed: names.flatMap((name) => (fresh.has(name) ? [] : nameAndVersion(old.get(name)))),
    changed: names.flatMap((name) => {
      const [from, to] = [old.get(name), fresh.get(name)];
      if (from === undefined || to === undefined || from.sha256 === to.sha256) return [];
      return [{ name, from: from.version, to: to.version }];
    }),
  };
}

function movesBetween(before: Lock, after: Lock): Move[] {
  const old = new Map(thingsOf(before).map((thing) => [keyOf(thing), thing]));
  const fresh = new Map(thingsOf(after).map((thing) => [keyOf(thing), thing]));
  return [...new Set([...fresh.keys(), ...old.keys()])].flatMap((key): Move[] => {
    const [from, to] = [old.get(key), fresh.get(key)];
    const thing = to ?? from;
    if (thing === undefined || (from?.version === to?.version && from?.build === to?.build)) return [];
    const isRebuilt = from?.version === to?.version;
    const nameOf = ({ version, build }: Thing): string =>
      isRebuilt && build !== undefined ? `${version} (${build})` : version;
    const { what, name } = thing;
    return [
      {
        what,
        name,
        ...(from !== undefined && { from: nameOf(from) }),
        ...(to !== undefined && { to: nameOf(to) }),
      },
    ];
  });
}

interface Thing {
  readonly what: Move['what'];
  readonly name: string;
  readonly version: string;
  /** Told when two of the same version differ in it. */
  readonly build?: string;
}

/** What there is one of has moved also when its name is another now. */
function keyOf({ what, name }: Thing): string {
  const isOneOfMany = ['runtime', 'container', 'model', 'modules'].includes(what);
  return isOneOfMany ? `${what} ${name}` : what;
}

function thingsOf({
  base,
  kernel,
  driver,
  cuda,
  runtimes = [],
  containers = [],
  models = [],
  modules = [],
  agent,
  facts,
}: Lock): Thing[] {
  const versionOf = (thing: NonNullable<Lock['cuda']>): string =>
    thing.package ?? thing.version ?? `with kernel ${kernel.version}`;
  return [
    { what: 'base', name: base.name, version: `${base.name} ${base.release}` },
    { what: 'kernel', name: kernel.flavour, version: `${kernel.release} (${kernel.version})` },
    ...(driver === undefined
      ? []
      : [
          {
            what: 'driver' as const,
            name: driver.name,
            version: [driver.name, versionOf(driver), driver.modules]
              .filter((part) => part !== undefined)
              .join(' '),
          },
        ]),
    ...modules.map(({ source, patches = [] }) => ({
      what: 'modules' as const,
      name: source.name,
      version: [source.version, ...patches.map(({ name }) => name)].join(' + '),
    })),
    ...(cuda === undefined ? [] : [{ what: 'cuda' as const, name: cuda.name, version: versionOf(cuda) }]),
    ...runtimes.map((runtime) => ({
      what: 'runtime' as const,
      name: runtime.name,
      version: versionOf(runtime),
    })),
    ...containers.map((one) => ({ what: 'container' as const, name: one.name, version: tagAndDigest(one) })),
    ...models.map((one) => ({ what: 'model' as const, name: one.name, version: tagAndDigest(one) })),
    ...(agent === undefined
      ? []
      : [{ what: 'agent' as const, name: agent.name, version: agent.version, build: buildOf(agent) }]),
    ...(facts === undefined ? [] : [{ what: 'facts' as const, name: 'facts', version: shortened(facts) }]),
  ];
}

/** `1.0 (sha256:…)`; of what was declared by its digest, that alone. */
export function tagAndDigest({ tag, digest }: Pick<LockedModel, 'tag' | 'digest'>): string {
  return tag === undefined ? shortened(digest) : `${tag} (${shortened(digest)})`;
}

function isOlder(version: string, than: string, format: PackageFormat): boolean {
  if (format === 'rpm') return compareRpmVersions(version, than) < 0;
  return isDebVersion(version) && isDebVersion(than) && compareDebVersions(version, than) < 0;
}

function bytesOf(lock: Lock): number {
  return imagePackages(lock).reduce((sum, item) => sum + item.size, 0);
}
