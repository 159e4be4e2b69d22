/** A declaration and the catalogue, in the words of the solver; and its choice, in the words of a declaration. */
import type { Catalog, CatalogLayer, LayerKind, Offer } from '../../catalog/layer.ts';
import type { Facts } from '../../catalog/facts/types.ts';
import { isCudaVersion, isDriverVersion, isSoftwareVersion } from '../../catalog/facts/versions.ts';
import { ANY_KERNEL, type NodeImage } from '../../spec/node-image.ts';
import type {
  CudaAsk,
  DriverAsk,
  FitOffers,
  FitRequest,
  GpuVendor,
  MigAsk,
  RuntimeAsk,
  RuntimeOffer,
} from './request.ts';
import type { KernelCandidate } from './rule.ts';
import type { Chosen } from './search.ts';

/** Whether there is anything to judge: images without accelerators are none of the solver's business. */
export function asksForAccelerators({ gpus, driver, cuda, runtimes }: NodeImage): boolean {
  return gpus !== undefined || driver !== undefined || cuda !== undefined || runtimes !== undefined;
}

/**
 * @param facts where the facts alone are to judge: layers that they do not know go by what they provide
 */
export function requestOf(image: NodeImage, catalog: Catalog, facts?: Facts): FitRequest {
  const { gpus = [], kernel, addons } = image;
  const runtimes = (image.runtimes ?? []).map(({ use, version, features }): RuntimeAsk => {
    const name = facts === undefined ? use : knownName(use, catalog, facts);
    return {
      use: name,
      ...(version !== undefined && { version }),
      ...(features !== undefined && { features }),
    };
  });
  const layers = layersOn(image, catalog);
  const served = runtimes.flatMap(({ use }) => runtimeLayers(use, image, layers));
  const implied = impliedAddons([...addons, ...served.flatMap(needsOf)], layers);
  const brought = implied.filter((name) => !addons.includes(name));
  const bearing = [
    ...served,
    ...layers.filter(({ definition: { kind, name } }) => kind === 'addon' && implied.includes(name)),
  ];
  const driver = driverOf(image, needs(bearing, 'driver', layers));
  const cuda = cudaOf(image, facts === undefined && needs(bearing, 'cuda', layers));
  return {
    architecture: image.architecture,
    distribution: `${image.base.name}@${image.base.release}`,
    gpus,
    kernel: { flavour: kernel.flavour, ...(kernel.version !== undefined && { version: kernel.version }) },
    ...(driver !== undefined && { driver }),
    ...(cuda !== undefined && { cuda }),
    runtimes,
    addons: [...addons, ...brought],
    ...(brought.length > 0 && { brought }),
    kernelArguments: [...image.kernelArguments, ...moduleOptions(image), ...driverArguments(layers)],
    mig: migAsks(image),
  };
}

/** In the order of the declaration; the places of the request's MIG elements. */
export function migAsks({ mig = [] }: NodeImage): readonly MigAsk[] {
  return mig.flatMap(({ gpu, devices }) =>
    Object.entries(devices).map(([profile, count]) => ({ gpu, profile, count })),
  );
}

/** What the layers of the catalogue offer on the image's release. */
export function offersOf(image: NodeImage, catalog: Catalog): FitOffers {
  const layers = layersOn(image, catalog);
  const of = (kind: LayerKind): readonly CatalogLayer[] =>
    layers.filter(({ definition }) => definition.kind === kind);
  const asked = (image.runtimes ?? []).flatMap(({ use }) => runtimeLayers(use, image, layers));
  return {
    drivers: of('driver').flatMap((layer) => driverOffers(layer, image)),
    kernelLayers: of('kernel').map(({ definition: { name, lacks = [] } }) => ({ layer: name, lacks })),
    cuda: of('cuda')
      .filter(({ definition }) => definition.provides.includes('cuda'))
      .flatMap((layer) =>
        versionsOf(layer, image).flatMap(({ version }) =>
          isCudaVersion(version) ? [{ layer: layer.definition.name, version }] : [],
        ),
      ),
    runtimes: of('runtime')
      .filter((layer) => asked.includes(layer))
      .flatMap((layer) => runtimeOffers(layer, image, layers)),
    addons: of('addon').flatMap((layer) => {
      const versions = versionsOf(layer, image);
      const { name } = layer.definition;
      return versions.length === 0
        ? [{ layer: name }]
        : versions.map(({ version }) => ({ layer: name, version }));
    }),
    requires: new Map(
      layers.flatMap(({ definition: { kind, name, requires } }) =>
        requires === undefined ? [] : [[`${kind}/${name}`, requires] as const],
      ),
    ),
  };
}

/** The declaration with what was chosen in the place of what was left open: names of layers, and their versions. */
export function settle(image: NodeImage, { driver, kernel, cuda, runtimes }: Chosen): NodeImage {
  const layer = driver?.offer?.layer;
  return {
    ...settleKernel(image, kernel),
    ...(driver !== undefined &&
      layer !== undefined && {
        driver: {
          use: layer,
          ...(driver.version !== undefined && { version: driver.version }),
          modules: driver.flavour ?? 'auto',
        },
      }),
    ...(cuda !== undefined && {
      cuda: { compat: false, toolkit: false, ...image.cuda, version: cuda.version },
    }),
    ...(image.runtimes !== undefined && {
      runtimes: image.runtimes.map((asked, index) => {
        const chosen = runtimes.find((one) => one.index === index);
        if (chosen?.layer === undefined || chosen.version === undefined) return asked;
        return { ...asked, use: chosen.layer, version: chosen.version };
      }),
    }),
  };
}

/** The layer that a kernel is from, where that is left open. */
export function settleKernel(image: NodeImage, kernel: KernelCandidate | undefined): NodeImage {
  if (image.kernel.flavour !== ANY_KERNEL || kernel?.layer === undefined) return image;
  return { ...image, kernel: { ...image.kernel, flavour: kernel.layer } };
}

function layersOn(image: NodeImage, { layers }: Catalog): readonly CatalogLayer[] {
  const release = `${image.base.name}@${image.base.release}`;
  return layers.filter(({ definition }) => definition.in?.includes(release) !== false);
}

function versionsOf({ definition }: CatalogLayer, { base }: NodeImage): readonly Offer[] {
  return (definition.offers ?? []).filter((offer) => offer.in.includes(`${base.name}@${base.release}`));
}

function needsOf({ definition }: CatalogLayer): readonly string[] {
  return definition.needs;
}

function brings({ definition }: CatalogLayer, name: string): boolean {
  return definition.name === name || definition.provides.includes(name);
}

/** Whether one of the layers needs a layer of this kind. */
function needs(
  bearing: readonly CatalogLayer[],
  kind: 'driver' | 'cuda',
  layers: readonly CatalogLayer[],
): boolean {
  return bearing.some((layer) =>
    needsOf(layer).some((need) =>
      layers.some((other) => other.definition.kind === kind && brings(other, need)),
    ),
  );
}

/** Of layers that bring a runtime, those for GPUs only where the image has to do with GPUs, or names them. */
function runtimeLayers(
  use: string,
  image: NodeImage,
  layers: readonly CatalogLayer[],
): readonly CatalogLayer[] {
  const { gpus, driver, cuda } = image;
  const accelerated = gpus !== undefined || driver !== undefined || cuda !== undefined;
  return layers.filter((layer) => {
    if (layer.definition.kind !== 'runtime' || !brings(layer, use)) return false;
    return layer.definition.name === use || accelerated || !needs([layer], 'driver', layers);
  });
}

/** A layer such as `pytorch-cuda` is a PyTorch. */
function knownName(use: string, catalog: Catalog, { runtimes }: Facts): string {
  if (runtimes.has(use)) return use;
  const provides = catalog.find('runtime', use)?.definition.provides ?? [];
  return provides.find((name) => runtimes.has(name)) ?? use;
}

/** CUDA and what is built for it bring a driver along. */
function driverOf({ driver, cuda, gpus }: NodeImage, isNeeded: boolean): DriverAsk | undefined {
  if (driver !== undefined) {
    const { use, version, modules } = driver;
    return { use, modules, ...(version !== undefined && { version }) };
  }
  if (!isNeeded && cuda === undefined) return undefined;
  return { use: gpus === undefined ? 'nvidia' : 'auto', modules: 'auto' };
}

function cudaOf({ cuda }: NodeImage, isNeeded: boolean): CudaAsk | undefined {
  if (cuda === undefined) return isNeeded ? { compat: false } : undefined;
  const { version, compat, toolkit } = cuda;
  return { compat, toolkit, ...(version !== undefined && { version }) };
}

function impliedAddons(names: readonly string[], layers: readonly CatalogLayer[]): readonly string[] {
  const reached = new Set<string>();
  const visit = (name: string): void => {
    const layer = layers.find(({ definition }) => definition.kind === 'addon' && definition.name === name);
    if (layer === undefined || reached.has(name)) return;
    reached.add(name);
    needsOf(layer).forEach(visit);
  };
  names.forEach(visit);
  return [...reached];
}

const VENDORS: ReadonlyMap<string, GpuVendor> = new Map([
  ['nvidia', 'nvidia'],
  ['amd', 'amd'],
  ['amdgpu', 'amd'],
  ['intel', 'intel'],
]);

function driverOffers(layer: CatalogLayer, image: NodeImage): NonNullable<FitOffers['drivers']>[number][] {
  const { name, provides, modules, requires = [] } = layer.definition;
  const words = requires.flatMap((one) =>
    one.kind === 'words' && one.subject === 'vendor' ? one.words : [],
  );
  const vendor = [...words, ...provides, name]
    .map((word) => VENDORS.get(word))
    .find((one) => one !== undefined);
  if (vendor === undefined) return [];
  const flavours = modules?.flavour === undefined ? (['open', 'proprietary'] as const) : [modules.flavour];
  const versions = versionsOf(layer, image);
  if (versions.length === 0) return vendor === 'nvidia' ? [] : [{ layer: name, vendor, flavours: [] }];
  return versions.flatMap(({ version }) =>
    isDriverVersion(version) ? [{ layer: name, vendor, version, flavours }] : [],
  );
}

/** The kernel arguments that every NVIDIA driver of the catalogue brings. */
function driverArguments(layers: readonly CatalogLayer[]): readonly string[] {
  const drivers = layers.filter(
    ({ definition }) => definition.kind === 'driver' && definition.provides.includes('nvidia'),
  );
  const [first, ...others] = drivers.map(
    ({ definition }) => definition.install.debian?.kernelArguments ?? [],
  );
  return (first ?? []).filter((argument) => others.every((list) => list.includes(argument)));
}

function runtimeOffers(
  layer: CatalogLayer,
  image: NodeImage,
  layers: readonly CatalogLayer[],
): RuntimeOffer[] {
  const { name, provides, container } = layer.definition;
  const runtime = provides[0] ?? name;
  const needsGpu = needs([layer], 'driver', layers) || needs([layer], 'cuda', layers);
  return versionsOf(layer, image).flatMap(({ version, cuda }): RuntimeOffer[] => {
    if (!isSoftwareVersion(version)) return [];
    const offer = { layer: name, runtime, version, selfContained: container !== undefined };
    if (cuda !== undefined) return isCudaVersion(cuda) ? [{ ...offer, cuda }] : [];
    return [needsGpu || container !== undefined ? offer : { ...offer, cuda: null }];
  });
}

/** `options nvidia_uvm uvm_disable_hmm=1` of a modprobe file, as the kernel command line would say it. */
function moduleOptions({ files }: NodeImage): readonly string[] {
  return files
    .filter(({ path }) => /^\/(?:etc|usr\/lib)\/modprobe\.d\/[^/]+\.conf$/.test(path))
    .flatMap((file) =>
      'content' in file && typeof file.content === 'string' ? file.content.split('\n') : [],
    )
    .flatMap((line) => {
      const [, module, options = ''] = /^\s*options\s+([\w-]+)\s+(.*)$/.exec(line) ?? [];
      return module === undefined
        ? []
        : options
            .trim()
            .split(/\s+/)
            .map((option) => `${module}.${option}`);
    });
}
