/**
 * What package indexes have of what the solver chooses among: kernels, and versions of the sources of kernel modules.
 * Recorded, since reading the indexes takes longer than choosing; by the record, who does not lock can tell too.
 */
import * as z from 'zod';

import { digestOfJson, hexOf, type Digest } from '../digest.ts';
import type { Reporter } from '../report/events.ts';
import type { Indexes } from './indexes.ts';
import { KernelImage, kernelImages } from './kernels.ts';
import { openIndex, stampOf } from './read-indexes.ts';

export interface Sought {
  /** Names of metapackages such as `linux-image-cloud-amd64`. */
  readonly kernels: readonly string[];
  readonly packages: readonly string[];
}

export const Available = z.strictObject({
  /** By metapackage, newest first. */
  kernels: z.record(z.string(), z.array(KernelImage)),
  /** Every version of a package, newest first. */
  versions: z.record(z.string(), z.array(z.string())),
});
export type Available = z.infer<typeof Available>;

export async function findAvailable(
  indexes: Indexes,
  sought: Sought,
  reporter: Reporter,
  signal?: AbortSignal,
): Promise<Available> {
  // While they are being moved forward it is the stamp of no moment, and nothing is recorded under it.
  const recorded = await readRecord(indexes, sought, await stampOf(indexes));
  if (recorded !== undefined) return recorded;
  await using opened = await openIndex(indexes, reporter, signal);
  const { index, stamp } = opened;
  const found: Available = {
    kernels: Object.fromEntries(sought.kernels.map((meta) => [meta, kernelImages(index, meta)])),
    versions: Object.fromEntries(sought.packages.map((name) => [name, index.versions(name)])),
  };
  await indexes.store.writeRecord('available', keyOf(indexes, sought, stamp), found);
  return found;
}

/** What was found when the indexes that are there were last looked at; fetches and writes nothing. */
export async function recallAvailable(indexes: Indexes, sought: Sought): Promise<Available | undefined> {
  try {
    return await readRecord(indexes, sought, await stampOf(indexes));
  } catch (error) {
    if (error instanceof Error && 'code' in error) return undefined;
    throw error;
  }
}

async function readRecord(indexes: Indexes, sought: Sought, stamp: Digest): Promise<Available | undefined> {
  const record = await indexes.store.readRecord('available', keyOf(indexes, sought, stamp));
  return Available.safeParse(record).data;
}

/** Raised when the recorded form or what counts as a kernel changes. */
const RECORD_VERSION = 2;

function keyOf({ release, architecture }: Indexes, sought: Sought, stamp: Digest): string {
  return hexOf(digestOfJson({ version: RECORD_VERSION, stamp, release, architecture, ...sought }));
}
