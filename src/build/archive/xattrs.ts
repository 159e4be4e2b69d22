/**
 * Extended attributes of a tree, and what an archive makes of each.
 *
 * Kept: `security.capability` and `user.*`. Read as overlay facts: opaque directories. Everything else that the
 * kernel or the host's security modules add (`security.selinux`, `security.ima`, other `trusted.*`) describes
 * the build host, not the image, and is left out. POSIX ACLs are refused: an image that silently lost one would
 * have other permissions than its author saw.
 */
import { resolve } from 'node:path';

import { IngotError } from '../../errors.ts';
import { run } from '../../proc/run.ts';
import { type Attributes, getfattrArgv, parseGetfattr } from '../../tools/getfattr.ts';

export interface TreeAttributes {
  /** Attributes to archive, or undefined. `path` is relative to the tree. */
  kept(path: string): Attributes | undefined;
  /** The directory hides what lower layers have under its name. */
  isOpaque(path: string): boolean;
}

const MATCH = String.raw`^(security\.capability$|user\.|trusted\.overlay\.|system\.posix_acl_)`;

/** The kernel's own bookkeeping in an upper directory; says nothing about the contents. */
const OVERLAY_BOOKKEEPING = new Set(['origin', 'impure', 'nlink', 'upper', 'uuid']);

/**
 * Reads the attributes of everything below `tree` in one run of getfattr.
 *
 * @throws IngotError BUILD_FAILED for an attribute that cannot be archived faithfully.
 */
export async function readTreeAttributes(tree: string, signal?: AbortSignal): Promise<TreeAttributes> {
  // Not realpath: a tree in another mount namespace is reached through /proc/PID/root, which would be resolved.
  const root = resolve(tree);
  const { stdout } = await run(getfattrArgv(root, MATCH), { signal });
  return sortAttributes(root, parseGetfattr(stdout));
}

/** @throws IngotError BUILD_FAILED */
export function sortAttributes(root: string, files: ReadonlyMap<string, Attributes>): TreeAttributes {
  const kept = new Map<string, Attributes>();
  const opaque = new Set<string>();
  const refused = new Map<string, string>();
  const prefix = root === '/' ? '/' : `${root}/`;
  for (const [absolute, attributes] of files) {
    const path = absolute.startsWith(prefix) ? absolute.slice(prefix.length) : '';
    const keep = new Map<string, Buffer>();
    for (const [name, value] of attributes) {
      // Mounts in a user namespace put overlay's attributes under user.
      const overlay = /^(?:trusted|user)\.overlay\.(.+)$/.exec(name)?.[1];
      if (overlay === undefined) {
        if (name.startsWith('system.posix_acl_')) refused.set(path, name);
        else keep.set(name, value);
      } else if (overlay === 'opaque' && value.toString() === 'y') {
        opaque.add(path);
      } else if (!OVERLAY_BOOKKEEPING.has(overlay)) {
        refused.set(path, name);
      }
    }
    if (keep.size > 0) kept.set(path, keep);
  }
  return {
    kept: (path) => {
      refuse(path, refused);
      return kept.get(path);
    },
    isOpaque: (path) => opaque.has(path),
  };
}

/** Only what is archived may fail the build: a refused attribute on a dropped log does no harm. */
function refuse(path: string, refused: ReadonlyMap<string, string>): void {
  const name = refused.get(path);
  if (name === undefined) return;
  throw new IngotError('BUILD_FAILED', `${path} has the attribute ${name}, which a layer cannot carry`, {
    hint: name.startsWith('system.posix_acl_')
      ? 'grant the permission with a tmpfiles.d "a" line on the running system, or with a group'
      : 'the overlay must be mounted with redirect_dir=off and metacopy=off',
  });
}
