/**
 * Which driver, CUDA and runtime layers answer a declaration, by what the layers offer on its release. Pure.
 *
 * Of several answers the verified ones come first, then the newest. What a chosen layer or an addon needs and nobody
 * asked for comes along: a runtime for CUDA brings CUDA and a driver.
 */
import { admitsVersion, compareDotted } from '../catalog/constraint.ts';
import type { Catalog, CatalogLayer, LayerKind } from '../catalog/layer.ts';
import { IngotError } from '../errors.ts';
import { ANY_KERNEL, type NodeImage, USUAL_KERNEL } from '../spec/node-image.ts';
import { nearest } from '../spec/suggest.ts';
import {
  answers,
  brings,
  byPreference,
  isNothingWithout,
  needsOf,
  providing,
  type Choice,
  type ChosenLayer,
  type ChosenRuntime,
} from './choice.ts';

/** Why there is no answer, at the value of the declaration that asks. */
export interface ChoiceProblem {
  readonly path: readonly (string | number)[];
  readonly message: string;
  readonly suggestions: readonly string[];
}

/** What is found, and everything that is wrong; with problems the choice is not whole. */
export interface ChoiceResult {
  readonly choice: Choice;
  readonly problems: readonly ChoiceProblem[];
}

export function choose(image: NodeImage, catalog: Catalog): ChoiceResult {
  return new Chooser(image, catalog).choose();
}

/** @throws IngotError SPEC_INVALID when the declaration has no answer; `checkReferences` says it with its place */
export function requireChoice(image: NodeImage, catalog: Catalog): Choice {
  const { choice, problems } = choose(image, catalog);
  const [problem] = problems;
  if (problem === undefined) return choice;
  throw new IngotError('SPEC_INVALID', problem.message);
}

class Chooser {
  readonly #image: NodeImage;
  readonly #catalog: Catalog;
  readonly #release: string;
  readonly #problems: ChoiceProblem[] = [];

  constructor(image: NodeImage, catalog: Catalog) {
    this.#image = image;
    this.#catalog = catalog;
    this.#release = `${image.base.name}@${image.base.release}`;
  }

  choose(): ChoiceResult {
    const runtimes = this.#runtimes();
    const addonLayers = this.#addonLayers(runtimes);
    const bearing = [...runtimes.map(({ layer }) => layer), ...addonLayers];
    const cuda = this.#cuda(bearing);
    const driver = this.#driver([...bearing, ...cuda.map(({ layer }) => layer)]);
    const addons = this.#addons(addonLayers, driver);
    this.#agent();
    const kernel = this.#kernel();
    const choice = {
      ...(kernel !== undefined && { kernel }),
      ...(driver !== undefined && { driver }),
      cuda,
      runtimes,
      addons,
    };
    return { choice, problems: this.#problems };
  }

  /** @param bearing layers that may need it */
  #driver(bearing: readonly CatalogLayer[]): ChosenLayer | undefined {
    const asked = this.#image.driver;
    const drivers = this.#layers('driver');
    const needed = bearing.flatMap(needsOf).find((need) => drivers.some((layer) => brings(layer, need)));
    const isNeeded = needed !== undefined || bearing.some((layer) => isNothingWithout(layer, 'driver'));
    if (asked === undefined && !isNeeded) return undefined;
    const { use, version, modules } = asked ?? { use: 'auto', version: undefined, modules: 'auto' };
    const path = ['driver'];
    const named = drivers.filter((layer) => use === 'auto' || brings(layer, use));
    if (named.length === 0) {
      this.#unknown('driver', use, drivers, [...path, 'use']);
      return undefined;
    }
    const fitting = named.filter((layer) => needed === undefined || brings(layer, needed));
    if (fitting.length === 0) {
      this.#refuse([...path, 'use'], `the image needs the driver ${needed ?? ''}, and declares ${use}`);
      return undefined;
    }
    const flavoured = fitting.filter(
      ({ definition }) => modules === 'auto' || definition.modules?.flavour === modules,
    );
    if (flavoured.length === 0) {
      this.#refuse([...path, 'modules'], `${use} has no ${modules} kernel modules`);
      return undefined;
    }
    // Without a name, one that comes in versions: what the kernel brings by itself serves other GPUs.
    const choosable =
      use === 'auto' ? flavoured.filter(({ definition }) => definition.offers !== undefined) : flavoured;
    return this.#best(choosable, version, use === 'auto' ? 'a driver' : use, [...path, 'version'])[0];
  }

  /** @param bearing layers that may need it */
  #cuda(bearing: readonly CatalogLayer[]): readonly ChosenLayer[] {
    const asked = this.#image.cuda;
    const layers = this.#layers('cuda');
    const isNeeded = bearing.some((layer) =>
      needsOf(layer).some((need) => layers.some((other) => brings(other, need))),
    );
    if (asked === undefined && !isNeeded) return [];
    const { version, compat, toolkit } = asked ?? { version: undefined, compat: false, toolkit: false };
    const [libraries] = this.#best(providing(layers, 'cuda'), version, 'CUDA', ['cuda', 'version']);
    if (libraries === undefined) return [];
    const chosen = [libraries];
    const parts = [
      { wants: toolkit, provides: 'cuda-toolkit', what: 'a compiler for CUDA', key: 'toolkit' },
      { wants: compat, provides: 'cuda-compat', what: 'compatibility libraries for CUDA', key: 'compat' },
    ];
    for (const { wants, provides, what, key } of parts) {
      if (!wants) continue;
      const [part] = this.#best(providing(layers, provides), libraries.offer?.version, what, ['cuda', key]);
      if (part !== undefined) chosen.push(part);
    }
    return chosen;
  }

  #runtimes(): readonly ChosenRuntime[] {
    const layers = this.#layers('runtime');
    return (this.#image.runtimes ?? []).flatMap(({ use, version, digest }, index): ChosenRuntime[] => {
      const path = ['runtimes', index];
      const named = layers.filter((layer) => brings(layer, use));
      if (named.length === 0) {
        this.#unknown('runtime', use, layers, [...path, 'use']);
        return [];
      }
      const serving = named.filter((layer) => layer.definition.name === use || this.#accelerates(layer));
      const fitting = this.#best(serving, version, use, [...path, 'version']);
      // For a GPU rather than without one.
      const best = fitting.find(({ layer }) => needsOf(layer).length > 0) ?? fitting[0];
      if (best === undefined) return [];
      const { container } = best.layer.definition;
      if (container === undefined) {
        if (digest !== undefined)
          this.#refuse([...path, 'digest'], `${use} is no container: it has no digest`);
        return [best];
      }
      const pinned = digest ?? best.offer?.digest;
      // Which of several it will be hangs on the driver too, so that no tag can be named here.
      const versions = [
        ...new Set(fitting.filter(({ layer }) => layer === best.layer).map(({ offer }) => offer?.version)),
      ];
      const isOpen = versions.length > 1;
      const choice = `\`version\` (${versions.join(', ')})`;
      if (pinned === undefined) {
        const image = isOpen ? container.image : `${container.image}:${best.offer?.tag ?? 'latest'}`;
        const add = isOpen ? `${choice} and its \`digest\`` : '`digest`';
        this.#refuse(
          path,
          `${use} is the container ${image}, and the catalogue does not know its digest: add ${add}`,
        );
        return [];
      }
      if (digest !== undefined && isOpen) {
        this.#refuse([...path, 'digest'], `a digest is of one release of ${use}: add its ${choice}`);
        return [];
      }
      return [{ ...best, digest: pinned }];
    });
  }

  /** False for a layer that needs a GPU driver which the image does not ask for, or asks otherwise. */
  #accelerates(layer: CatalogLayer): boolean {
    const { driver, cuda, gpus } = this.#image;
    const needs = needsOf(layer).filter((need) =>
      this.#layers('driver').some((other) => brings(other, need)),
    );
    if (needs.length === 0) return true;
    if (driver === undefined || driver.use === 'auto') {
      return driver !== undefined || cuda !== undefined || gpus !== undefined;
    }
    return this.#layers('driver').some(
      (other) => brings(other, driver.use) && needs.every((need) => brings(other, need)),
    );
  }

  /** Those declared, those that the runtimes need, and those that these need. */
  #addonLayers(runtimes: readonly ChosenLayer[]): readonly CatalogLayer[] {
    const reached = new Map<string, CatalogLayer>();
    const visit = (name: string): void => {
      const layer = this.#catalog.find('addon', name);
      if (layer === undefined || reached.has(name)) return;
      reached.set(name, layer);
      layer.definition.needs.forEach(visit);
    };
    this.#image.addons.forEach(visit);
    for (const { layer } of runtimes) layer.definition.needs.forEach(visit);
    return [...reached.values()];
  }

  #addons(layers: readonly CatalogLayer[], driver: ChosenLayer | undefined): readonly ChosenLayer[] {
    return layers.flatMap((layer): ChosenLayer[] => {
      const { name } = layer.definition;
      const index = this.#image.addons.indexOf(name);
      const path = index === -1 ? ['addons'] : ['addons', index];
      if (!this.#isHere(layer)) {
        this.#refuse(path, `${name} is not there on ${this.#release}`);
        return [];
      }
      if (layer.definition.offers === undefined) return [];
      const bounds = (layer.definition.requires ?? []).filter(
        (constraint) => constraint.kind !== 'words' && constraint.subject === 'version',
      );
      const best = this.#offersOf(layer).find(({ offer }) =>
        bounds.every(
          (constraint) =>
            constraint.kind === 'words' ||
            admitsVersion(constraint, offer?.version ?? '', () => driver?.offer?.version),
        ),
      );
      if (best === undefined) {
        const wants = bounds.map(({ text }) => text).join(', ');
        this.#refuse(path, `no version of ${name} on ${this.#release} has ${wants}`);
        return [];
      }
      return [best];
    });
  }

  /** Of kernels with all drivers; which one goes with the rest, the package indexes must tell. */
  #kernel(): string | undefined {
    const { flavour } = this.#image.kernel;
    if (flavour !== ANY_KERNEL) {
      const layer = this.#catalog.find('kernel', flavour);
      if (layer !== undefined && !this.#isHere(layer)) {
        this.#refuse(['kernel', 'flavour'], `the kernel ${flavour} is not there on ${this.#release}`);
      }
      return flavour;
    }
    const names = this.#layers('kernel')
      .filter((layer) => this.#isHere(layer) && layer.definition.lacks === undefined)
      .map(({ definition }) => definition.name)
      .sort();
    const chosen = names.find((name) => name === USUAL_KERNEL) ?? names[0];
    if (chosen === undefined) {
      this.#refuse(['kernel', 'flavour'], `the catalogue has no kernel with all drivers on ${this.#release}`);
    }
    return chosen;
  }

  /** Nothing to choose: there is one by that name, or none. */
  #agent(): void {
    const { agent } = this.#image;
    const layer = agent === undefined ? undefined : this.#catalog.find('agent', agent);
    if (layer === undefined || this.#isHere(layer)) return;
    this.#refuse(['agent'], `${layer.definition.name} is not there on ${this.#release}`);
  }

  /** Everything that answers, best first; says so when nothing does. */
  #best(
    layers: readonly CatalogLayer[],
    version: string | undefined,
    what: string,
    path: readonly (string | number)[],
  ): readonly ChosenLayer[] {
    const offered = layers.filter((layer) => this.#isHere(layer)).flatMap((layer) => this.#offersOf(layer));
    const fitting = offered.filter(
      ({ offer }) => version === undefined || (offer !== undefined && answers(offer.version, version)),
    );
    if (fitting.length > 0) return [...fitting].sort(byPreference);
    const versions = [...new Set(offered.flatMap(({ offer }) => offer?.version ?? []))].sort(compareDotted);
    const asked = version === undefined ? what : `${what} ${version}`;
    if (offered.length > 0 && versions.length === 0) {
      this.#refuse(path, `${what} comes with the kernel and has no version of its own`);
    } else {
      const list = versions.length === 0 ? 'nothing of it is there' : `there is ${versions.join(', ')}`;
      const near = versions.length === 0 ? this.#elsewhere(layers) : '';
      this.#refuse(path, `no layer has ${asked} on ${this.#release}: ${list}${near}`, versions);
    }
    return [];
  }

  #elsewhere(layers: readonly CatalogLayer[]): string {
    const releases = new Set(
      layers.flatMap(({ definition }) => [
        ...(definition.in ?? []),
        ...(definition.offers ?? []).flatMap((offer) => offer.in),
      ]),
    );
    return releases.size === 0 ? '' : `; it is on ${[...releases].sort().join(', ')}`;
  }

  #offersOf(layer: CatalogLayer): ChosenLayer[] {
    const { offers } = layer.definition;
    if (offers === undefined) return [{ layer }];
    return offers
      .filter((offer) => offer.in.includes(this.#release))
      .map((offer) => ({ layer, offer }))
      .sort(byPreference);
  }

  #isHere({ definition }: CatalogLayer): boolean {
    return definition.in === undefined || definition.in.includes(this.#release);
  }

  #layers(kind: LayerKind): readonly CatalogLayer[] {
    return this.#catalog.layers.filter(({ definition }) => definition.kind === kind);
  }

  #unknown(
    what: string,
    name: string,
    layers: readonly CatalogLayer[],
    path: readonly (string | number)[],
  ): void {
    const known = [...new Set(layers.flatMap(({ definition }) => [...definition.provides, definition.name]))];
    const near = nearest(name, known);
    const list = known.length === 0 ? 'there are none' : `known: ${known.sort().join(', ')}`;
    this.#refuse(
      path,
      near.length > 0 ? `unknown ${what} "${name}"` : `unknown ${what} "${name}" (${list})`,
      near,
    );
  }

  #refuse(path: readonly (string | number)[], message: string, suggestions: readonly string[] = []): void {
    this.#problems.push({ path, message, suggestions });
  }
}
