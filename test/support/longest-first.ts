/**
 * The order of test files: those that take longest first, so that no worker ends up with one of them alone at the end.
 * Vitest's own order knows this from an earlier run; a fresh checkout, as in CI, has none.
 */
import { basename } from 'node:path';

import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** From the longest down; whatever is not here takes less than these. */
export const LONGEST: readonly string[] = [
  'node-vm',
  'crash-points',
  'bound',
  'build',
  'vm',
  'deltas',
  'disk',
  'node-faults',
  'killed-builds',
  'build-verify',
  'node',
  'installer',
  'soft-reboot',
  'image-base',
  'rpm-base',
  'fit-laws',
].map((name) => `${name}.test.ts`);

/** @param nameOf the path of one; others keep their order among themselves */
export function longestFirst<File>(files: readonly File[], nameOf: (file: File) => string): File[] {
  const rank = (file: File): number => {
    const found = LONGEST.indexOf(basename(nameOf(file)));
    return found === -1 ? LONGEST.length : found;
  };
  return files.toSorted((one, other) => rank(one) - rank(other));
}

export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return longestFirst(await super.sort(files), ({ moduleId }) => moduleId);
  }
}
