/** What a lock says of driver, CUDA, runtimes, containers and kernel modules. Pure. */
import { IngotError } from '../errors.ts';
import { hasVersionPrefix, isDebVersion } from '../packages/deb-version.ts';
import type { LockedPackage } from '../packages/package.ts';
import type { Solution } from '../packages/solution.ts';
import type { Choice, ChosenLayer } from './choice.ts';
import type { LayerRequest } from './layers.ts';
import type { Lock, LockedContainer, LockedModules, LockedPatch } from './lock.ts';

const FAMILY = 'debian';

export type LockedAccelerators = Pick<Lock, 'driver' | 'cuda' | 'runtimes' | 'containers' | 'modules'>;

/** Package names of module sources, in the order of the layers: what the solution's `sources` are for. */
export function moduleSources(
  layers: readonly LayerRequest[],
): readonly { layer: LayerRequest; name: string }[] {
  return layers.flatMap((layer) => {
    const name = layer.definition?.definition.modules?.source;
    return name === undefined ? [] : [{ layer, name }];
  });
}

/**
 * Members for what there is; none for an image without any of it.
 *
 * @param patches by layer, those that its module source takes
 * @throws IngotError OFFER_STALE when a package's version is not the one that was offered, and so not the one that
 *   everything was chosen for
 */
export function lockAccelerators(
  choice: Choice,
  layers: readonly LayerRequest[],
  solution: Solution,
  patches: ReadonlyMap<string, readonly LockedPatch[]> = new Map(),
): LockedAccelerators {
  const packages = new Map(solution.packages.map((item) => [item.package.name, item.package]));
  for (const layer of layers) requireOffered(layer, packages, solution.suite);
  const modules = moduleSources(layers).flatMap(({ layer, name }): LockedModules[] => {
    const source = solution.sources?.find((item) => item.name === name);
    if (source === undefined) throw new TypeError(`the solution has no source ${name}`);
    if (layer.version !== undefined) requireVersion(layer, source, layer.version, solution.suite);
    const flavour = layer.definition?.definition.modules?.flavour;
    const needed = patches.get(layer.name) ?? [];
    return [
      {
        layer: layer.name,
        source,
        ...(flavour !== undefined && { flavour }),
        ...(needed.length > 0 && { patches: [...needed] }),
      },
    ];
  });
  const { driver, cuda, runtimes } = choice;
  const [libraries] = cuda;
  const flavour = driver?.layer.definition.modules?.flavour;
  const describe = (chosen: ChosenLayer): NonNullable<Lock['cuda']> => describeLayer(chosen, packages);
  const containers = layerContainers(choice);
  return {
    ...(driver !== undefined && {
      driver: { ...describe(driver), ...(flavour !== undefined && { modules: flavour }) },
    }),
    ...(libraries !== undefined && { cuda: describe(libraries) }),
    ...(runtimes.length > 0 && { runtimes: runtimes.map(describe) }),
    ...(containers.length > 0 && { containers }),
    ...(modules.length > 0 && { modules }),
  };
}

/** What the chosen runtimes run, where they are containers. */
export function layerContainers({ runtimes }: Choice): LockedContainer[] {
  return runtimes.flatMap(({ layer, offer, digest }): LockedContainer[] => {
    const { kind, name, container } = layer.definition;
    if (container === undefined || digest === undefined) return [];
    const { name: service, image } = container;
    return [{ layer: `${kind}-${name}`, name: service, image, tag: offer?.tag ?? 'latest', digest }];
  });
}

function describeLayer(
  { layer, offer }: ChosenLayer,
  packages: ReadonlyMap<string, LockedPackage>,
): NonNullable<Lock['cuda']> {
  const { kind, name, provides, install } = layer.definition;
  const telling = install[FAMILY]?.versionOf?.find((name) => packages.has(name));
  const version = telling === undefined ? undefined : packages.get(telling)?.version;
  return {
    name: provides[0] ?? name,
    layer: `${kind}-${name}`,
    ...(offer !== undefined && { version: offer.version }),
    ...(version !== undefined && { package: version }),
  };
}

function requireOffered(
  layer: LayerRequest,
  packages: ReadonlyMap<string, LockedPackage>,
  suite: string,
): void {
  const offered = layer.version;
  if (offered === undefined) return;
  for (const name of versionCarriers(layer, offered)) {
    const found = packages.get(name);
    if (found === undefined) {
      throw new IngotError(
        'CATALOG_INVALID',
        `the layer ${layer.name} has the version of ${name}, and does not bring it`,
      );
    }
    requireVersion(layer, found, offered, suite);
  }
}

/** Of the layer's `versionOf`, what the offer brings: names that other offers alone bring are those of other versions. */
function versionCarriers({ definition }: LayerRequest, offered: string): readonly string[] {
  const { offers = [], install } = definition?.definition ?? {};
  const { versionOf = [], packages = [] } = install?.[FAMILY] ?? {};
  const own = offers.filter(({ version }) => version === offered).flatMap((offer) => offer.packages ?? []);
  const others = offers.flatMap((offer) => offer.packages ?? []);
  const foreign = new Set(others.filter((name) => !own.includes(name) && !packages.includes(name)));
  const carriers = versionOf.filter((name) => !foreign.has(name));
  // An offer of which nothing carries the version would be held against nothing.
  return carriers.length > 0 ? carriers : versionOf;
}

function requireVersion(layer: LayerRequest, item: LockedPackage, offered: string, suite: string): void {
  if (isDebVersion(item.version) && hasVersionPrefix(item.version, offered)) return;
  throw new IngotError(
    'OFFER_STALE',
    `the layer ${layer.name} offers ${offered} on ${suite}, where ${item.name} has the version ${item.version} now`,
    {
      hint: `bring the offers up to date in ${layer.definition?.file ?? 'the layer'}: what goes together is decided by them`,
    },
  );
}
