/** The GPUs of this machine, as the kernel lists them: no driver is needed. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { errnoOf } from '../errors.ts';

export interface HostGpu {
  /** Such as `0000:41:00.0`. */
  readonly address: string;
  /** `VENDOR:DEVICE` in lower-case hex, such as `10de:26b9`. */
  readonly pci: string;
}

export const PCI_DEVICES = '/sys/bus/pci/devices';

/**
 * Base classes of what computes: display controllers and processing accelerators.
 * PCI Code and ID Assignment Specification 1.15, 1.4 and 1.19.
 */
const CLASSES = /^0x(?:03|12)/;

/** Sorted by address; none where there is no PCI. */
export async function findGpus(folder = PCI_DEVICES): Promise<readonly HostGpu[]> {
  const gpus: HostGpu[] = [];
  for (const address of (await readdir(folder).catch(() => [])).sort()) {
    const [kind, vendor, device] = await Promise.all(
      ['class', 'vendor', 'device'].map((name) => readWord(join(folder, address, name))),
    );
    if (kind === undefined || vendor === undefined || device === undefined || !CLASSES.test(kind)) continue;
    gpus.push({ address, pci: `${idOf(vendor)}:${idOf(device)}` });
  }
  return gpus;
}

async function readWord(path: string): Promise<string | undefined> {
  try {
    return (await readFile(path, 'utf8')).trim().toLowerCase();
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ENODEV', 'EIO'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}

function idOf(text: string): string {
  return text.replace(/^0x/, '').padStart(4, '0');
}
