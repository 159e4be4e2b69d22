/** `ingot catalog show`: what a name means, and what is known of it. */
import type { CatalogLayer } from '../../catalog/layer.ts';
import { findGpus } from '../../catalog/facts/find-gpus.ts';
import type { Facts } from '../../catalog/facts/types.ts';
import { IngotError } from '../../errors.ts';
import { nearest } from '../../spec/suggest.ts';
import type { CommandResult } from '../context.ts';
import { showGpus } from './show-gpus.ts';
import { showLayer } from './show-layer.ts';
import { showBranch, showBranches, showToolkits } from './show-nvidia.ts';
import { showRuntime } from './show-runtime.ts';

export interface ShowInput {
  readonly facts: Facts;
  readonly layers: readonly CatalogLayer[];
  readonly today: Date;
}

/**
 * A driver (`nvidia`, `nvidia@580`), `cuda`, a runtime, a layer (`ssh`, `addon/ssh`) or a GPU.
 *
 * @throws IngotError USAGE with the nearest names
 */
export function showSubject(name: string, { facts, layers, today }: ShowInput): CommandResult {
  const wanted = name.trim().toLowerCase();
  const branch = /^nvidia@(\d{3})(?:\.[\d.]+)?$/.exec(wanted)?.[1];
  if (wanted === 'nvidia') return showBranches(facts, layers, today);
  if (branch !== undefined) {
    const row = facts.nvidia.branches.get(Number(branch));
    if (row !== undefined) return showBranch(facts, row, today);
    throw unknown(
      name,
      [...facts.nvidia.branches.keys()].map((number) => `nvidia@${number}`),
    );
  }
  if (wanted === 'cuda') return showToolkits(facts, layers);
  const runtime = [...facts.runtimes.values()].find((row) => [row.name, ...row.aliases].includes(wanted));
  if (runtime !== undefined) return showRuntime(facts, runtime, layers);
  const named = layers.filter(
    ({ definition }) => definition.name === wanted || `${definition.kind}/${definition.name}` === wanted,
  );
  const [layer] = named;
  if (layer !== undefined) {
    if (named.length === 1) return showLayer(facts, layer);
    const all = named.map(({ definition }) => `${definition.kind}/${definition.name}`);
    throw new IngotError('USAGE', `${JSON.stringify(name)} names several layers`, {
      hint: `say which: ${all.join(', ')}`,
    });
  }
  const gpus = findGpus(facts, wanted);
  if (gpus.kind !== 'unknown' && gpus.gpus.length > 0) return showGpus(facts, gpus.gpus, today);
  throw unknown(name, namesToShow(facts, layers), gpus.kind === 'unknown' ? gpus.suggestions : []);
}

/** @throws IngotError USAGE with the nearest names */
export function showNamedGpus(name: string, { facts, today }: ShowInput): CommandResult {
  const found = findGpus(facts, name);
  if (found.kind !== 'unknown' && found.gpus.length > 0) return showGpus(facts, found.gpus, today);
  throw new IngotError('USAGE', `no GPU is called ${JSON.stringify(name)}`, {
    hint: hintOf(found.kind === 'unknown' ? found.suggestions : [], '`ingot catalog gpus` lists them all'),
  });
}

function namesToShow(facts: Facts, layers: readonly CatalogLayer[]): string[] {
  return [
    'nvidia',
    'cuda',
    ...[...facts.runtimes.values()].flatMap((row) => [row.name, ...row.aliases]),
    ...layers.map(({ definition }) => definition.name),
  ];
}

function unknown(name: string, known: readonly string[], more: readonly string[] = []): IngotError {
  return new IngotError('USAGE', `the catalogue has nothing called ${JSON.stringify(name)}`, {
    hint: hintOf(
      [...nearest(name, known), ...more],
      `search with \`ingot catalog ${name.split(/[@/]/)[0] ?? ''}\``,
    ),
  });
}

function hintOf(suggestions: readonly string[], otherwise: string): string {
  return suggestions.length === 0
    ? otherwise
    : `did you mean ${[...new Set(suggestions)].slice(0, 3).join(', ')}?`;
}
