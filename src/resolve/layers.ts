/** Which layers an image is made of, and what each asks for. Pure. */
import {
  layerOn,
  type Catalog,
  type CatalogLayer,
  type LayerKind,
  type PackageFamily,
} from '../catalog/layer.ts';
import { IngotError } from '../errors.ts';
import { type NodeImage, OWN_KERNEL } from '../spec/node-image.ts';
import { brings, kernelFlavour, type Choice, type ChosenLayer } from './choice.ts';

/** A layer as the lock will name it. */
export interface LayerRequest {
  /** `base`, `kernel`, `driver-nvidia-open`, `cuda-runtime`, `runtime-llama.cpp-cuda`, `agent-ingot`, `addon-ssh`, `packages`. */
  readonly name: string;
  readonly kind: LayerKind;
  /** None for the declaration's own packages, and for a base that is an image. */
  readonly definition: CatalogLayer | undefined;
  /** `name` or `name=version`, as written. */
  readonly packages: readonly string[];
  /** Version that was chosen of it, where it has versions. */
  readonly version?: string;
  /** Names of all layers under this one, the lowest first. */
  readonly below: readonly string[];
}

/**
 * The image's layers, lowest first: base, kernel, driver, CUDA, runtimes, agent and addons (each after those that
 * it needs), the declaration's packages.
 *
 * @param family whose packages the image has; of an image as the base, that one's
 * @throws IngotError CATALOG_INVALID when the catalogue lacks a layer, the choice lacks one that is needed, or layers
 *   need each other in a circle
 */
export function layersOf(
  image: NodeImage,
  catalog: Catalog,
  choice: Choice,
  family: PackageFamily = 'debian',
): readonly LayerRequest[] {
  return new LayerStack(image, catalog, choice, family).layers();
}

class LayerStack {
  readonly #image: NodeImage;
  readonly #catalog: Catalog;
  readonly #choice: Choice;
  readonly #family: PackageFamily;
  readonly #layers = new Map<string, LayerRequest>();
  readonly #visiting: string[] = [];

  constructor(image: NodeImage, catalog: Catalog, choice: Choice, family: PackageFamily) {
    this.#image = image;
    this.#catalog = catalog;
    this.#choice = choice;
    this.#family = family;
  }

  layers(): readonly LayerRequest[] {
    const { base, agent, addons, packages } = this.#image;
    const flavour = kernelFlavour(this.#image, this.#choice);
    const { driver, cuda, runtimes } = this.#choice;
    if (base.image === undefined) this.#put('base', { layer: this.#require('base', base.name) }, []);
    else
      this.#layers.set('base', {
        name: 'base',
        kind: 'base',
        definition: undefined,
        packages: [],
        below: [],
      });
    if (flavour !== OWN_KERNEL) {
      this.#put('kernel', { layer: this.#require('kernel', flavour) }, ['base']);
    }
    for (const chosen of [...(driver === undefined ? [] : [driver]), ...cuda, ...runtimes]) this.#add(chosen);
    if (agent !== undefined) this.#add({ layer: this.#require('agent', agent) });
    for (const addon of addons) this.#addAddon(addon);
    if (packages.length > 0) {
      const name = 'packages';
      this.#layers.set(name, { name, kind: 'addon', definition: undefined, packages, below: ['base'] });
    }
    const layers = [...this.#layers.values()];
    return base.image === undefined ? layers : chained(layers);
  }

  #addAddon(name: string): LayerRequest {
    const chosen = this.#choice.addons.find(({ layer }) => layer.definition.name === name);
    return this.#add(chosen ?? { layer: this.#require('addon', name) });
  }

  #add(chosen: ChosenLayer): LayerRequest {
    const { kind, name: own, needs } = chosen.layer.definition;
    const name = `${kind}-${own}`;
    const present = this.#layers.get(name);
    if (present !== undefined) return present;
    if (this.#visiting.includes(own)) {
      throw new IngotError(
        'CATALOG_INVALID',
        `layers need each other: ${[...this.#visiting, own].join(' → ')}`,
      );
    }
    this.#visiting.push(own);
    const below = new Set(['base']);
    for (const need of needs) {
      const lower = this.#lower(need, name);
      for (const under of [...lower.below, lower.name]) below.add(under);
    }
    this.#visiting.pop();
    return this.#put(name, chosen, [...below]);
  }

  /** `base`, `kernel`, an addon, or the driver or CUDA layer that provides it. */
  #lower(need: string, by: string): LayerRequest {
    const { driver, cuda } = this.#choice;
    const chosen = [...(driver === undefined ? [] : [driver]), ...cuda].find(({ layer }) =>
      brings(layer, need),
    );
    if (chosen !== undefined) return this.#add(chosen);
    const own = this.#image.kernel.flavour === OWN_KERNEL && need === 'kernel' ? 'base' : need;
    const present = this.#layers.get(own);
    if (present !== undefined) return present;
    if (this.#catalog.find('addon', need) !== undefined) return this.#addAddon(need);
    throw new IngotError('CATALOG_INVALID', `${by} needs ${need}, which the image does not have`);
  }

  #put(name: string, { layer, offer }: ChosenLayer, below: readonly string[]): LayerRequest {
    const { kind, install } = layer.definition;
    const withCuda = this.#choice.cuda.length === 0 ? undefined : install.debian?.packagesWith?.cuda;
    const own = [
      ...(install[this.#family]?.packages ?? []),
      ...(this.#family === 'debian' ? (withCuda ?? []) : []),
    ];
    const request: LayerRequest = {
      name,
      kind,
      definition: layerOn(layer, this.#family),
      packages: [...this.#packagesOf(own), ...(offer?.packages ?? [])],
      ...(offer !== undefined && { version: offer.version }),
      below,
    };
    this.#layers.set(name, request);
    return request;
  }

  #packagesOf(patterns: readonly string[]): readonly string[] {
    return patterns.map((pattern) => pattern.replaceAll('{arch}', this.#image.architecture));
  }

  #require(kind: LayerKind, name: string): CatalogLayer {
    const layer = this.#catalog.find(kind, name);
    if (layer !== undefined) return layer;
    throw new IngotError('CATALOG_INVALID', `the catalogue has no ${kind} layer ${name}`);
  }
}

/**
 * Packages of an image base may be replaced by those of a layer, and a package database that is one file cannot be
 * merged: each layer stands on all before it.
 */
function chained(layers: readonly LayerRequest[]): LayerRequest[] {
  return layers.map((layer, index) => ({ ...layer, below: layers.slice(0, index).map(({ name }) => name) }));
}
