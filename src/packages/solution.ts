/** What apt chose: the packages of one root, each with what its place in the layers depends on. */
import * as z from 'zod';

import { LockedArchive, LockedPackage } from './package.ts';

export const SolvedPackage = z.strictObject({
  package: LockedPackage,
  /** Its control file says `Essential: yes`. */
  essential: z.boolean(),
  /** Pre-Depends and Depends, as written. */
  depends: z.string(),
  provides: z.string(),
});
export type SolvedPackage = z.infer<typeof SolvedPackage>;

export const Solution = z.strictObject({
  suite: z.string(),
  archives: z.array(LockedArchive),
  /** In name order. */
  packages: z.array(SolvedPackage),
  /** Packages that were asked for as sources, in the order of the request: not installed. */
  sources: z.array(LockedPackage).optional(),
});
export type Solution = z.infer<typeof Solution>;
