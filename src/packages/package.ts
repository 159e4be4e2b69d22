/** A package as the lock names it: everything needed to fetch and verify it, and nothing of where from. */
import * as z from 'zod';

export const LockedPackage = z.strictObject({
  name: z.string(),
  version: z.string(),
  architecture: z.string(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/, '64 hex digits'),
  /** Bytes of the package file. */
  size: z.int().nonnegative(),
  /** Path below the archive's root, such as `pool/main/b/bash/bash_5.2-1_amd64.deb` or `Packages/b/bash-5.2-1.x86_64.rpm`. */
  filename: z
    .string()
    .regex(/^(?!\/)(?!.*\.\.(?:\/|$)).+\.(?:deb|rpm)$/, 'the path of a .deb or .rpm below its archive'),
  /** Which archive of `LockedSystem.archives` has it. */
  archive: z.string(),
  /**
   * In the closure of the Essential packages (and their Pre-Depends and Depends): what a bare root gets first, so
   * that every other package's scripts can rely on it.
   */
  essential: z.literal(true).optional(),
});
export type LockedPackage = z.infer<typeof LockedPackage>;

/** Name of the source package, by the folder of `pool/main/b/bash/bash_5.2-1_amd64.deb`; a vendor's repository may have no such folders. */
export function sourceNameOf({ name, filename }: Pick<LockedPackage, 'name' | 'filename'>): string {
  return /^pool\/(?:[^/]+\/)+([^/]+)\/[^/]+$/.exec(filename)?.[1] ?? name;
}

export type PackageFormat = 'deb' | 'rpm';

export function formatOf({ filename }: Pick<LockedPackage, 'filename'>): PackageFormat {
  return filename.endsWith('.rpm') ? 'rpm' : 'deb';
}

export function describePackage({ name, version }: Pick<LockedPackage, 'name' | 'version'>): string {
  return `${name} ${version}`;
}

/**
 * An archive of packages. A distribution's has no address: the machine's own mirror configuration gives that. A
 * vendor's repository has one place, which everybody knows.
 */
export const LockedArchive = z.strictObject({
  name: z.string(),
  suites: z.array(z.string()),
  components: z.array(z.string()),
  url: z.string().optional(),
  /** Address of a list of places that all have it, instead of one. */
  mirrorList: z.string().optional(),
  /** Of a base's own: fingerprints of the keys that the packages, or the index that names them, were verified with. */
  keys: z.array(z.string()).optional(),
});
export type LockedArchive = z.infer<typeof LockedArchive>;
