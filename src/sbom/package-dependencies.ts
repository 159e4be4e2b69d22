/** Which installed package satisfies which dependency of another. Pure. */
import { admitsVersion, parseDependencies, type Dependency } from '../packages/dependencies.ts';
import type { InstalledPackage } from './software.ts';

interface Provided {
  readonly id: string;
  readonly version: string | undefined;
}

/** Ids of what each package needs, by its id. What nothing installed satisfies is left out. */
export function dependenciesOf(
  packages: readonly InstalledPackage[],
): ReadonlyMap<string, readonly string[]> {
  const provided = new Map<string, Provided[]>();
  const provide = (name: string, one: Provided): void => {
    const others = provided.get(name);
    if (others === undefined) provided.set(name, [one]);
    else others.push(one);
  };
  for (const { name, version } of packages) provide(name, { id: `package/${name}`, version });
  for (const { name, provides } of packages) {
    for (const [one] of parseDependencies(provides)) {
      if (one !== undefined) provide(one.name, { id: `package/${name}`, version: one.version });
    }
  }
  const satisfying = (dependency: Dependency): string | undefined =>
    provided.get(dependency.name)?.find(({ version }) => admitsVersion(dependency, version))?.id;
  return new Map(
    packages.flatMap(({ name, depends }) => {
      const id = `package/${name}`;
      const needed = parseDependencies(depends).flatMap(
        (group) => group.map(satisfying).find((one) => one !== undefined) ?? [],
      );
      const once = [...new Set(needed)].filter((one) => one !== id).sort();
      return once.length === 0 ? [] : [[id, once] as const];
    }),
  );
}
