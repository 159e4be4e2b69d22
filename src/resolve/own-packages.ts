/**
 * Every package of a solution gets exactly one owner. Pure.
 *
 * A package belongs to the lowest layer that wants it, where a layer wants what its own packages pull in. One that
 * several layers want, none of which is under the others, belongs to the nearest layer under them all. So a layer
 * and those under it always hold everything that its packages depend on.
 */
import type { SolvedPackage } from '../packages/solution.ts';
import { DependencyGraph } from './closure.ts';

/** The part of a `LayerRequest` that ownership depends on. */
export interface OwningLayer {
  readonly name: string;
  /** Names of packages the layer asks for. */
  readonly roots: readonly string[];
  /** Names of all layers under this one. */
  readonly below: readonly string[];
}

/**
 * @param layers lowest first; the first is under all others and owns the Essential packages
 * @returns package names by layer, each list in name order; every layer has an entry
 */
export function ownPackages(
  packages: readonly SolvedPackage[],
  layers: readonly OwningLayer[],
): ReadonlyMap<string, readonly string[]> {
  const [base] = layers;
  if (base === undefined) throw new TypeError('an image has at least a base layer');
  const graph = new DependencyGraph(packages);
  const order = new LayerOrder(layers, base.name);
  const essential = packages.filter((item) => item.essential).map((item) => item.package.name);
  const roots = new Map(
    layers.map((layer) => [layer.name, [...layer.roots, ...(layer === base ? essential : [])]]),
  );
  adoptRest(graph, layers, roots);

  const wanting = new Map<string, string[]>(graph.names.map((name) => [name, []]));
  for (const layer of layers) {
    for (const name of graph.closure(roots.get(layer.name) ?? [])) wanting.get(name)?.push(layer.name);
  }
  const owners = new Map<string, string>();
  for (const name of graph.names) owners.set(name, order.meet(wanting.get(name) ?? []));
  settle(graph, order, owners);

  const owned = new Map<string, string[]>(layers.map((layer) => [layer.name, []]));
  for (const name of graph.names) owned.get(owners.get(name) ?? base.name)?.push(name);
  return owned;
}

/**
 * apt may have chosen a later alternative although an earlier one is there as well by now: nobody's first choice.
 * Such a package is a root of the lowest layer that it could serve.
 */
function adoptRest(
  graph: DependencyGraph,
  layers: readonly OwningLayer[],
  roots: ReadonlyMap<string, string[]>,
): void {
  const reached = graph.closure([...roots.values()].flat());
  for (const name of graph.names) {
    if (reached.has(name)) continue;
    const adopter =
      layers.find((layer) => graph.closure(roots.get(layer.name) ?? [], true).has(name)) ?? layers[0];
    roots.get(adopter?.name ?? '')?.push(name);
  }
}

/** Layers need not form a tree, so that nearest layers of neighbours may differ: a package never lies under its dependencies. */
function settle(graph: DependencyGraph, order: LayerOrder, owners: Map<string, string>): void {
  for (let changed = true; changed;) {
    changed = false;
    for (const name of graph.names) {
      const owner = owners.get(name) ?? '';
      for (const dependency of graph.closure([name])) {
        const current = owners.get(dependency) ?? '';
        if (order.isUnder(current, owner)) continue;
        owners.set(dependency, order.meet([current, owner]));
        changed = true;
      }
    }
  }
}

class LayerOrder {
  readonly #names: readonly string[];
  readonly #under: ReadonlyMap<string, ReadonlySet<string>>;
  readonly #base: string;

  constructor(layers: readonly OwningLayer[], base: string) {
    this.#base = base;
    this.#names = layers.map((layer) => layer.name);
    this.#under = new Map(layers.map((layer) => [layer.name, new Set([...layer.below, layer.name, base])]));
  }

  /** Whether `lower` is `upper` itself or under it. */
  isUnder(lower: string, upper: string): boolean {
    return this.#under.get(upper)?.has(lower) ?? false;
  }

  /** The nearest layer that is each of these or under it. */
  meet(layers: readonly string[]): string {
    if (layers.length === 0) return this.#base;
    const bounds = this.#names.filter((name) => layers.every((layer) => this.isUnder(name, layer)));
    const nearest = bounds.filter(
      (name) => !bounds.some((other) => other !== name && this.isUnder(name, other)),
    );
    return nearest.length === 1 ? (nearest[0] ?? this.#base) : this.meet(nearest);
  }
}
