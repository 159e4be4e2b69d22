/** What a person means by `h100-sxm`, `GeForce RTX 4090`, `hopper`, `gfx942` or `10de:2330`. */
import { nearest } from '../../spec/suggest.ts';
import type { Facts, Gpu, NvidiaArchitecture } from './types.ts';

export interface GpuMatch {
  /**
   * `product`: one product, which a PCI id can also be. `pci`: the products that share an id. `series` and
   * `architecture`: every product of it; whatever is decided has to hold for all of them.
   */
  readonly kind: 'product' | 'pci' | 'series' | 'architecture';
  /** Never empty, but for an NVIDIA architecture that no product is known of. */
  readonly gpus: readonly Gpu[];
  /** NVIDIA's, where the text named it. */
  readonly architecture?: NvidiaArchitecture;
}

export interface UnknownGpu {
  readonly kind: 'unknown';
  /** The nearest names, best first. */
  readonly suggestions: readonly string[];
}

export function findGpus(facts: Facts, text: string): GpuMatch | UnknownGpu {
  const gpus = allGpus(facts);
  const wanted = text.trim().toLowerCase();
  if (/^[0-9a-f]{4}:[0-9a-f]{4}$/.test(wanted)) {
    const found = gpus.filter(({ pci }) => pci.includes(wanted));
    if (found.length > 0) return { kind: found.length === 1 ? 'product' : 'pci', gpus: found };
    const ids = gpus.flatMap(({ pci }) => pci).filter((id) => id.slice(0, 5) === wanted.slice(0, 5));
    return { kind: 'unknown', suggestions: nearest(wanted, ids) };
  }
  const name = shortName(wanted);
  const names = name === wanted ? [name] : [wanted, name];
  for (const candidate of names) {
    const product = gpus.filter(
      (gpu) => gpu.aliases.includes(candidate) || shortName(gpu.product.toLowerCase()) === candidate,
    );
    if (product.length === 1) return { kind: 'product', gpus: product };
    if (product.length > 1) return { kind: 'series', gpus: product };
    const series = gpus.filter((gpu) => gpu.series.includes(candidate));
    if (series.length > 0) return { kind: 'series', gpus: series };
    const architecture = [...facts.nvidia.architectures.values()].find(
      (row) => row.name === candidate || row.aliases.includes(candidate),
    );
    if (architecture !== undefined) {
      const members = facts.nvidia.gpus.filter((gpu) => gpu.architecture.name === architecture.name);
      return { kind: 'architecture', gpus: members, architecture };
    }
    const others = facts.otherGpus.filter((gpu) => gpu.architecture === candidate);
    if (others.length > 0) return { kind: 'architecture', gpus: others };
  }
  return { kind: 'unknown', suggestions: suggestionsFor(name, gpuNames(facts)) };
}

/** NVIDIA's first, each vendor's in the order of its tables. */
export function allGpus(facts: Facts): readonly Gpu[] {
  return [...facts.nvidia.gpus, ...facts.otherGpus];
}

/** Every name that `findGpus` knows, PCI ids and products left out. */
export function gpuNames(facts: Facts): string[] {
  const names = new Set<string>();
  for (const { name, aliases } of facts.nvidia.architectures.values()) {
    for (const each of [name, ...aliases]) names.add(each);
  }
  for (const gpu of allGpus(facts)) for (const each of [...gpu.aliases, ...gpu.series]) names.add(each);
  for (const gpu of facts.otherGpus) names.add(gpu.architecture);
  return [...names].sort();
}

/** Slips of the finger first; then names that begin or go on with what was written, shortest first. */
function suggestionsFor(name: string, known: readonly string[]): string[] {
  const near = nearest(name, known);
  const longer =
    name.length < 2
      ? []
      : known
          .filter((each) => each.startsWith(name) || each.includes(`-${name}`))
          .sort((left, right) => left.length - right.length || (left < right ? -1 : 1));
  return [...new Set([...near.slice(0, 3), ...longer])].slice(0, 3);
}

/** `NVIDIA GeForce RTX 4090` and `rtx_4090` are both `rtx-4090`. */
function shortName(text: string): string {
  return text
    .replace(/[^a-z0-9.+]+/g, '-')
    .replace(/^-+|-+$/g, '')
    .replace(/^(?:nvidia|amd|intel)-/, '')
    .replace(/^(?:geforce|tesla|instinct)-/, '');
}
