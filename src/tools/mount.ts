/** mount(8) for overlay file systems, and for a file in the place of another. */
import type { Argv } from '../proc/run.ts';

export interface OverlayOptions {
  /** Lowest first. */
  readonly lower: readonly string[];
  readonly upper: string;
  readonly work: string;
  readonly target: string;
}

/**
 * Mounts a stack. Trees stay plain: nothing in an upper directory may point into a lower one, since uppers are
 * archived on their own. No syncing: a build that did not end is made again from scratch.
 */
export function mountOverlayArgv(options: OverlayOptions): Argv {
  const settings = [
    `lowerdir=${[...options.lower].reverse().map(escapePath).join(':')}`,
    `upperdir=${escapePath(options.upper)}`,
    `workdir=${escapePath(options.work)}`,
    'index=off,metacopy=off,redirect_dir=off,xino=off,volatile',
  ];
  return ['mount', '-t', 'overlay', '-o', settings.join(','), 'overlay', options.target];
}

/** Mounts an image of a file system that is a file. */
export function mountImageArgv(image: string, type: 'erofs', target: string): Argv {
  return ['mount', '-t', type, '-o', 'ro', image, target];
}

/**
 * Mounts a composefs: names and modes of one directory, whose files are in another, which is not seen itself
 * (docs.kernel.org, "overlayfs", data-only lower layers).
 */
export function mountComposefsArgv(names: string, objects: string, target: string): Argv {
  const lower = `lowerdir=${escapePath(names)}::${escapePath(objects)}`;
  return ['mount', '-t', 'overlay', '-o', `ro,${lower},redirect_dir=on,metacopy=on`, 'composefs', target];
}

/** Puts a file or directory over another one. */
export function bindMountArgv(source: string, target: string): Argv {
  return ['mount', '--bind', source, target];
}

/** Changes what one mount allows, and nothing of the file system that others see too. */
export function remountBindArgv(target: string, access: 'ro' | 'rw'): Argv {
  return ['mount', '-o', `remount,bind,${access}`, target];
}

/** What is mounted below from now on is seen in this namespace alone. */
export function makePrivateArgv(target: string): Argv {
  return ['mount', '--make-rprivate', target];
}

/** With everything below it. */
export function unmountTreeArgv(target: string): Argv {
  return ['umount', '--recursive', target];
}

export function unmountArgv(target: string): Argv {
  return ['umount', target];
}

/** In overlay options `:` parts lower directories and `,` options; a backslash takes that meaning away. */
function escapePath(path: string): string {
  return path.replaceAll(/[\\:,]/g, (character) => `\\${character}`);
}
