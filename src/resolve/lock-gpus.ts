/** The declared GPUs, with their PCI ids: what schedulers and nodes match hardware by. Pure. */
import { findGpus } from '../catalog/facts/find-gpus.ts';
import type { Facts } from '../catalog/facts/types.ts';
import type { NodeImage } from '../spec/node-image.ts';
import type { LockedGpu } from './lock.ts';

/** In the declaration's order. A name that the facts do not know is left out: checking the declaration said so. */
export function lockGpus(
  { gpus = [], mig = [] }: Pick<NodeImage, 'gpus' | 'mig'>,
  facts: Facts,
): readonly LockedGpu[] {
  return gpus.flatMap((name, index) => {
    const match = findGpus(facts, name);
    if (match.kind === 'unknown') return [];
    // A PCI id that several products share promises that id alone.
    const ids = match.kind === 'pci' ? [name.trim().toLowerCase()] : match.gpus.flatMap(({ pci }) => pci);
    const devices = mig.find(({ gpu }) => gpu === index)?.devices;
    return [{ name, pci: [...new Set(ids)].sort(), ...(devices !== undefined && { mig: { ...devices } }) }];
  });
}
