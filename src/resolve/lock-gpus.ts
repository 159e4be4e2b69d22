/** The declared GPUs, with their PCI ids: what schedulers and nodes match hardware by. Pure. */
import { findGpus } from '../catalog/facts/find-gpus.ts';
import type { Facts } from '../catalog/facts/types.ts';
import type { LockedGpu } from './lock.ts';

/** In the declaration's order. A name that the facts do not know is left out: checking the declaration said so. */
export function lockGpus(names: readonly string[], facts: Facts): readonly LockedGpu[] {
  return names.flatMap((name) => {
    const match = findGpus(facts, name);
    if (match.kind === 'unknown') return [];
    // A PCI id that several products share promises that id alone.
    const ids = match.kind === 'pci' ? [name.trim().toLowerCase()] : match.gpus.flatMap(({ pci }) => pci);
    return [{ name, pci: [...new Set(ids)].sort() }];
  });
}
