/** Finds layers, runtimes and GPUs by words: names, summaries, what they provide, and the hardware they are for. */
import { allGpus, findGpus } from '../../catalog/facts/find-gpus.ts';
import { driverSupport } from '../../catalog/facts/lookup.ts';
import type { Facts, Gpu, Runtime } from '../../catalog/facts/types.ts';
import {
  isComputeCapability,
  isDriverVersion,
  parseRange,
  rangeAdmits,
} from '../../catalog/facts/versions.ts';
import type { Constraint } from '../../catalog/constraint.ts';
import type { CatalogLayer, LayerDefinition } from '../../catalog/layer.ts';

export interface CatalogMatches {
  readonly layers: readonly CatalogLayer[];
  /** Runtimes that the facts know; one that a layer brings too is in both. */
  readonly runtimes: readonly Runtime[];
  readonly gpus: readonly Gpu[];
}

/** Every word must match something of it. Without words, all layers and runtimes, and no GPUs. */
export function searchCatalog(
  layers: readonly CatalogLayer[],
  facts: Facts,
  words: readonly string[],
): CatalogMatches {
  const wanted = words.flatMap((word) => word.toLowerCase().split(/\s+/)).filter((word) => word !== '');
  if (wanted.length === 0) return { layers, runtimes: [...facts.runtimes.values()], gpus: [] };
  const named = gpusNamed(facts, wanted);
  const hardware = new Set(named);
  const matchesText = (text: string): boolean => wanted.every((word) => text.includes(word));
  return {
    layers: layers.filter(({ definition }) => {
      if (matchesText(textOfLayer(definition))) return true;
      return named.length > 0 && (hardwareOf(definition, facts) ?? []).some((gpu) => hardware.has(gpu));
    }),
    runtimes: [...facts.runtimes.values()].filter(({ name, title, aliases }) =>
      matchesText([name, title, ...aliases].join(' ').toLowerCase()),
    ),
    gpus: named.length > 0 ? named : allGpus(facts).filter((gpu) => matchesText(textOfGpu(gpu))),
  };
}

/** The GPUs that all words together name: `rtx 4090`, `hopper`. */
function gpusNamed(facts: Facts, words: readonly string[]): readonly Gpu[] {
  const found = findGpus(facts, words.join(' '));
  return found.kind === 'unknown' ? [] : found.gpus;
}

function textOfLayer(layer: LayerDefinition): string {
  const offers = (layer.offers ?? []).flatMap(({ version, in: releases }) => [version, ...releases]);
  return [layer.kind, layer.name, layer.summary, ...layer.provides, ...offers].join(' ').toLowerCase();
}

function textOfGpu(gpu: Gpu): string {
  const architecture = typeof gpu.architecture === 'string' ? gpu.architecture : gpu.architecture.name;
  return [gpu.vendor, gpu.product, architecture, gpu.class, ...gpu.aliases, ...gpu.series, ...gpu.pci]
    .join(' ')
    .toLowerCase();
}

/**
 * The GPUs that a layer is for: what it requires of them, and what the drivers that it offers support. Undefined
 * for a layer that asks nothing of the hardware.
 */
export function hardwareOf(layer: LayerDefinition, facts: Facts): readonly Gpu[] | undefined {
  const requirements = (layer.requires ?? []).filter(({ subject }) => HARDWARE.has(subject));
  if (requirements.length === 0) return undefined;
  const drivers =
    layer.kind === 'driver'
      ? (layer.offers ?? []).map(({ version }) => version).filter((version) => isDriverVersion(version))
      : [];
  return allGpus(facts).filter((gpu) => {
    if (!requirements.every((constraint) => holds(constraint, gpu))) return false;
    if (gpu.vendor !== 'nvidia' || drivers.length === 0) return true;
    return drivers.some((driver) => driverSupport(facts.nvidia, gpu, driver).answer === 'yes');
  });
}

const HARDWARE: ReadonlySet<string> = new Set(['vendor', 'gpuArchitecture', 'modules', 'computeCapability']);

function holds(constraint: Constraint, gpu: Gpu): boolean {
  const { subject } = constraint;
  if (constraint.kind === 'words') {
    if (subject === 'vendor') return constraint.words.includes(gpu.vendor);
    if (gpu.vendor !== 'nvidia') return false;
    if (subject === 'modules') return gpu.modules === 'either' || constraint.words.includes(gpu.modules);
    return constraint.words.includes(gpu.architecture.name);
  }
  if (gpu.vendor !== 'nvidia') return false;
  const { capability } = gpu.capability;
  if (constraint.kind === 'versions') {
    return constraint.choices.some(({ version, series }) =>
      series ? capability.split('.')[0] === version : capability === version,
    );
  }
  return constraint.bounds.every(({ relation, operand }) => {
    if (!('version' in operand)) return true;
    const range = parseRange(`${relation} ${operand.version}`);
    return range === undefined || !isComputeCapability(capability) || rangeAdmits(range, capability);
  });
}
