/** Which layers an image is made of, and what each asks for. Pure. */
import type { Catalog, CatalogLayer, LayerKind } from '../catalog/layer.ts';
import { IngotError } from '../errors.ts';
import type { NodeImage } from '../spec/node-image.ts';

/** A layer as the lock will name it. */
export interface LayerRequest {
  /** `base`, `kernel`, `addon-ssh`, `packages`. */
  readonly name: string;
  readonly kind: LayerKind;
  /** None for the declaration's own packages. */
  readonly definition: CatalogLayer | undefined;
  /** `name` or `name=version`, as written. */
  readonly packages: readonly string[];
  /** Names of all layers under this one, the lowest first. */
  readonly below: readonly string[];
}

const FAMILY = 'debian';

/**
 * The image's layers, lowest first: base, kernel, addons (each after those that it needs), the declaration's packages.
 *
 * @throws IngotError CATALOG_INVALID when the catalogue lacks a layer or layers need each other in a circle
 */
export function layersOf(image: NodeImage, catalog: Catalog): readonly LayerRequest[] {
  const layers = new Map<string, LayerRequest>();
  layers.set('base', requestOf('base', requireLayer(catalog, 'base', image.base.name), []));
  layers.set('kernel', requestOf('kernel', requireLayer(catalog, 'kernel', image.kernel.flavour), ['base']));
  const visiting: string[] = [];
  const addAddon = (addon: string): LayerRequest => {
    const name = `addon-${addon}`;
    const present = layers.get(name);
    if (present !== undefined) return present;
    if (visiting.includes(addon)) {
      throw new IngotError('CATALOG_INVALID', `layers need each other: ${[...visiting, addon].join(' → ')}`);
    }
    visiting.push(addon);
    const layer = requireLayer(catalog, 'addon', addon);
    const below = new Set(['base']);
    for (const need of layer.definition.needs) {
      // `base`, `kernel`, or an addon.
      const lower = layers.get(need) ?? addAddon(need);
      for (const under of [...lower.below, lower.name]) below.add(under);
    }
    visiting.pop();
    const request = requestOf(name, layer, [...below]);
    layers.set(name, request);
    return request;
  };
  for (const addon of image.addons) addAddon(addon);
  if (image.packages.length > 0) {
    const { packages } = image;
    layers.set('packages', {
      name: 'packages',
      kind: 'addon',
      definition: undefined,
      packages,
      below: ['base'],
    });
  }
  return [...layers.values()];
}

function requestOf(name: string, layer: CatalogLayer, below: readonly string[]): LayerRequest {
  const { kind, install } = layer.definition;
  return { name, kind, definition: layer, packages: install[FAMILY]?.packages ?? [], below };
}

function requireLayer(catalog: Catalog, kind: LayerKind, name: string): CatalogLayer {
  const layer = catalog.find(kind, name);
  if (layer !== undefined) return layer;
  throw new IngotError('CATALOG_INVALID', `the catalogue has no ${kind} layer ${name}`);
}
