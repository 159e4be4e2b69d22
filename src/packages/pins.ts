/**
 * Versions that apt is told beside what it is asked for. For a dependency apt looks at one version alone: the newest,
 * or the one that is pinned. Vendors keep all releases side by side, so that the newest is often not the one that goes
 * with the release that was chosen, and they use names of the distribution's packages for newer ones of their own.
 */
import type { SolvedVersion } from '../tools/apt.ts';
import { admitsVersion, parseDependencies, type Dependency } from './dependencies.ts';
import type { PackageIndex } from './package-index.ts';
import type { Stanza } from './stanzas.ts';

/** What the packages depend on in exactly one version, and what that does. */
export function exactDependencies(
  index: PackageIndex,
  packages: readonly SolvedVersion[],
): readonly SolvedVersion[] {
  return follow(index, packages, ({ relation, version }) => (relation === '=' ? version : undefined));
}

/** The same, and what they depend on in any version and the index has in just their own. */
export function sameRelease(
  index: PackageIndex,
  packages: readonly SolvedVersion[],
): readonly SolvedVersion[] {
  return follow(index, packages, ({ relation, version }, own) => (relation === '=' ? version : own));
}

/** Alternatives (`a | b`) are apt's to choose. */
function follow(
  index: PackageIndex,
  packages: readonly SolvedVersion[],
  versionFor: (dependency: Dependency, own: string) => string | undefined,
): readonly SolvedVersion[] {
  const seen = new Set(packages.map(({ name }) => name));
  const queue = [...packages];
  for (const { name, version: own } of queue) {
    const found = index.find(name, own);
    for (const dependency of dependenciesOf(found?.stanza)) {
      const version = versionFor(dependency, own);
      if (version === undefined || seen.has(dependency.name)) continue;
      const isThere =
        index.has(dependency.name, version) ||
        // What comes from another release takes its own parts along: the metapackage of a kernel that kernel.
        (found?.foreign === true && index.hasForeign(dependency.name, version));
      if (!isThere || !admitsVersion(dependency, version)) continue;
      seen.add(dependency.name);
      queue.push({ name: dependency.name, version });
    }
  }
  return queue.slice(packages.length);
}

function dependenciesOf(stanza: Stanza | undefined): readonly Dependency[] {
  return ['pre-depends', 'depends'].flatMap((field) =>
    parseDependencies(stanza?.get(field) ?? '').flatMap((group) => (group.length === 1 ? group : [])),
  );
}

/**
 * The distribution's own version of every package that a vendor has too: who takes one thing from a vendor does not
 * want all the rest from there.
 *
 * @param vendors names of the vendors' archives
 * @param asked names that stay free, since a layer with a repository asks for them
 */
export function distributionPins(
  index: PackageIndex,
  vendors: ReadonlySet<string>,
  asked: ReadonlySet<string>,
): readonly SolvedVersion[] {
  return index.namesIn(vendors).flatMap((name) => {
    const [version] = asked.has(name) ? [] : index.versions(name, (archive) => !vendors.has(archive));
    return version === undefined ? [] : [{ name, version }];
  });
}
