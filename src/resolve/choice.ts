/** The driver, CUDA and runtime layers of an image: what a choice is, and whether it answers the declaration. Pure. */
import { beginsWith, compareDotted } from '../catalog/constraint.ts';
import type { Catalog, CatalogLayer, Offer } from '../catalog/layer.ts';
import type { Digest } from '../digest.ts';
import { ANY_KERNEL, type NodeImage } from '../spec/node-image.ts';
import type { Lock } from './lock.ts';

/** A layer, with the version that it is to bring; undefined for what comes with the kernel. */
export interface ChosenLayer {
  readonly layer: CatalogLayer;
  readonly offer?: Offer;
}

export interface ChosenRuntime extends ChosenLayer {
  /** Of the container image that it is. */
  readonly digest?: Digest;
}

export interface Choice {
  /** Name of the kernel layer; what a declaration says of it is before that. */
  readonly kernel?: string;
  readonly driver?: ChosenLayer;
  /** The libraries first, then compiler and compatibility libraries. */
  readonly cuda: readonly ChosenLayer[];
  readonly runtimes: readonly ChosenRuntime[];
  /** Addons that have versions. */
  readonly addons: readonly ChosenLayer[];
}

/** What a layer needs besides the base, the kernel and itself. */
export function needsOf({ definition }: CatalogLayer): string[] {
  return definition.needs.filter((need) => need !== 'base' && need !== 'kernel');
}

/** Whether a layer is meant by a name: its own, or that of what it provides. */
export function brings({ definition }: CatalogLayer, name: string): boolean {
  return definition.name === name || definition.provides.includes(name);
}

export function providing(layers: readonly CatalogLayer[], what: string): readonly CatalogLayer[] {
  return layers.filter(({ definition }) => definition.provides.includes(what));
}

/** An offer may name no more than the start of its version, and then answers everything in it. */
export function answers(offered: string, asked: string): boolean {
  return beginsWith(offered, asked) || beginsWith(asked, offered);
}

export function byPreference(left: ChosenLayer, right: ChosenLayer): number {
  const doubt = ({ layer }: ChosenLayer): number => Number(layer.definition.status === 'unverified');
  const flavour = ({ layer }: ChosenLayer): number =>
    Number(layer.definition.modules?.flavour === 'proprietary');
  return (
    doubt(left) - doubt(right) ||
    compareDotted(right.offer?.version ?? '0', left.offer?.version ?? '0') ||
    flavour(left) - flavour(right) ||
    (left.layer.definition.name < right.layer.definition.name ? -1 : 1)
  );
}

/** Whether a layer is of no use without a driver, or without CUDA. */
export function isNothingWithout({ definition }: CatalogLayer, subject: 'driver' | 'cuda'): boolean {
  return (definition.requires ?? []).some((constraint) => constraint.subject === subject);
}

/** The kernel layer: the declared one, or what was chosen where it is left open. */
export function kernelFlavour({ kernel }: Pick<NodeImage, 'kernel'>, choice: Pick<Choice, 'kernel'>): string {
  return kernel.flavour === ANY_KERNEL ? (choice.kernel ?? kernel.flavour) : kernel.flavour;
}

/** What a lock has chosen. A layer that the catalogue no longer has is left out. */
export function choiceOf(lock: Lock, catalog: Catalog): Choice {
  const layersOfKind = (kind: 'driver' | 'cuda' | 'runtime'): readonly ChosenLayer[] =>
    lock.layers.flatMap((locked) => {
      const layer = locked.kind === kind ? catalog.find(kind, locked.definition?.name ?? '') : undefined;
      return layer === undefined ? [] : [{ layer }];
    });
  const [driver] = layersOfKind('driver');
  return {
    kernel: lock.kernel.flavour,
    ...(driver !== undefined && { driver }),
    cuda: layersOfKind('cuda'),
    runtimes: layersOfKind('runtime'),
    addons: [],
  };
}

/** What a declaration asks for and a choice does not bring, or brings without being asked. */
export function contradictions(image: NodeImage, { driver, cuda, runtimes }: Choice): readonly string[] {
  const found: string[] = [];
  const asked = image.driver;
  if (asked !== undefined && driver === undefined) found.push('it has no driver');
  if (
    asked !== undefined &&
    driver !== undefined &&
    asked.use !== 'auto' &&
    !brings(driver.layer, asked.use)
  ) {
    found.push(`its driver is ${driver.layer.definition.name} instead of ${asked.use}`);
  }
  if (image.cuda !== undefined && cuda.length === 0) found.push('it has no CUDA');
  const requests = image.runtimes ?? [];
  for (const { use } of requests) {
    if (!runtimes.some(({ layer }) => brings(layer, use))) found.push(`it has no ${use}`);
  }
  for (const { layer } of runtimes) {
    if (requests.some(({ use }) => brings(layer, use))) continue;
    found.push(`it has ${layer.definition.name}, which is not declared`);
  }
  return found;
}
