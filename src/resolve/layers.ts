/** Which layers an image is made of, and what each asks for. Pure. */
import type { Catalog, CatalogLayer, LayerKind } from '../catalog/layer.ts';
import { digestOfJson, type Digest } from '../digest.ts';
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

/** Names a declaration: a lock holds for exactly one. */
export function declarationDigest(image: NodeImage): Digest {
  return digestOfJson(image);
}

/**
 * The image's layers, lowest first: base, kernel, addons (each after what it needs), the declaration's packages.
 *
 * @throws IngotError CATALOG_INVALID when the catalogue lacks a layer or layers need each other in a circle
 */
export function layersOf(image: NodeImage, catalog: Catalog): readonly LayerRequest[] {
  const layers = new Map<string, LayerRequest>();
  const add = (name: string, definition: CatalogLayer, below: readonly string[]): void => {
    const { kind, install } = definition.definition;
    layers.set(name, { name, kind, definition, packages: install[FAMILY]?.packages ?? [], below });
  };
  add('base', requireLayer(catalog, 'base', image.base.name), []);
  add('kernel', requireLayer(catalog, 'kernel', image.kernel.flavour), ['base']);
  const visiting: string[] = [];
  const addAddon = (addon: string): LayerRequest | undefined => {
    const name = `addon-${addon}`;
    if (layers.has(name)) return layers.get(name);
    if (visiting.includes(addon)) {
      throw new IngotError('CATALOG_INVALID', `layers need each other: ${[...visiting, addon].join(' → ')}`);
    }
    visiting.push(addon);
    const definition = requireLayer(catalog, 'addon', addon);
    const below = new Set(['base']);
    for (const needed of definition.definition.needs) {
      const layer = layers.get(needed) ?? kernelOrBase(needed, image, layers) ?? addAddon(needed);
      if (layer === undefined) continue;
      for (const lower of [...layer.below, layer.name]) below.add(lower);
    }
    visiting.pop();
    add(name, definition, [...below]);
    return layers.get(name);
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

/** A need may name the kernel or base layer by its definition. */
function kernelOrBase(
  needed: string,
  image: NodeImage,
  layers: ReadonlyMap<string, LayerRequest>,
): LayerRequest | undefined {
  if (image.addons.includes(needed)) return undefined;
  if (needed === image.base.name) return layers.get('base');
  return needed === image.kernel.flavour ? layers.get('kernel') : undefined;
}

function requireLayer(catalog: Catalog, kind: LayerKind, name: string): CatalogLayer {
  const layer = catalog.find(kind, name);
  if (layer !== undefined) return layer;
  throw new IngotError('CATALOG_INVALID', `the catalogue has no ${kind} layer ${name}`);
}
