/** Dependencies inside a solution: what a package pulls in, of what was chosen. Pure. */
import { admitsVersion, parseDependencies, type Dependency } from '../packages/dependencies.ts';
import type { SolvedPackage } from '../packages/solution.ts';

export class DependencyGraph {
  /** Package names in order; every answer is in this order. */
  readonly names: readonly string[];
  readonly #byName: ReadonlyMap<string, SolvedPackage>;
  readonly #providers = new Map<string, { readonly name: string; readonly version: string | undefined }[]>();
  readonly #edges = new Map<
    string,
    { readonly chosen: readonly string[]; readonly possible: readonly string[] }
  >();

  constructor(packages: readonly SolvedPackage[]) {
    this.#byName = new Map(packages.map((item) => [item.package.name, item]));
    this.names = [...this.#byName.keys()].sort();
    for (const name of this.names) {
      for (const [provided] of parseDependencies(this.#byName.get(name)?.provides ?? '')) {
        if (provided === undefined) continue;
        const providers = this.#providers.get(provided.name) ?? [];
        this.#providers.set(provided.name, [...providers, { name, version: provided.version }]);
      }
    }
  }

  /** Names of packages in the solution that satisfy a dependency: the package itself first, then providers. */
  satisfiers(dependency: Dependency): readonly string[] {
    const own = this.#byName.get(dependency.name)?.package;
    const providers = (this.#providers.get(dependency.name) ?? []).filter(({ version }) =>
      admitsVersion(dependency, version),
    );
    return [
      ...(own !== undefined && admitsVersion(dependency, own.version) ? [own.name] : []),
      ...providers.map(({ name }) => name),
    ];
  }

  /**
   * Everything the packages pull in, themselves included. Of alternatives, the first that is there counts;
   * with `all`, every one that is there.
   */
  closure(roots: Iterable<string>, all = false): ReadonlySet<string> {
    const reached = new Set<string>();
    const waiting = [...roots].filter((name) => this.#byName.has(name));
    for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
      if (reached.has(name)) continue;
      reached.add(name);
      const edges = this.#edgesOf(name);
      waiting.push(...(all ? edges.possible : edges.chosen));
    }
    return reached;
  }

  #edgesOf(name: string): { readonly chosen: readonly string[]; readonly possible: readonly string[] } {
    const known = this.#edges.get(name);
    if (known !== undefined) return known;
    const groups = parseDependencies(this.#byName.get(name)?.depends ?? '').map((group) =>
      group.flatMap((dependency) => this.satisfiers(dependency)),
    );
    const edges = { chosen: groups.flatMap((found) => found.slice(0, 1)), possible: groups.flat() };
    this.#edges.set(name, edges);
    return edges;
  }
}

/** The Essential packages and all they pull in: what a bare root gets first. */
export function essentialClosure(packages: readonly SolvedPackage[]): ReadonlySet<string> {
  const roots = packages.filter((item) => item.essential).map((item) => item.package.name);
  return new DependencyGraph(packages).closure(roots);
}
