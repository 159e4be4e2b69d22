/** Stores that have packages and nothing else, and the package that one of them lacks. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';

import type { LockedPackage } from '../../src/packages/package.ts';
import type { Lock } from '../../src/resolve/lock.ts';
import type { BuiltImage } from './built-image.ts';

/** A store at `path`, on the file system of the shared one, with its packages. */
export function storeWithPackages({ store }: BuiltImage, path: string): string {
  mkdirSync(path, { recursive: true });
  execFileSync('cp', ['--archive', '--link', join(store, 'packages'), join(path, 'packages')]);
  return path;
}

export function packageOf({ layers }: Lock, name: string): LockedPackage {
  const found = layers.flatMap((layer) => layer.packages).find((item) => item.name === name);
  if (found === undefined) throw new Error(`the lock has no ${name}`);
  return found;
}

export function packageFile(store: string, { sha256 }: LockedPackage): string {
  return join(store, 'packages', sha256.slice(0, 2), `${sha256}.deb`);
}

/** Takes a package out of a store and puts it into an archive, which may be a mirror's or a snapshot's. */
export function moveToArchive(store: string, item: LockedPackage, archive: string): void {
  const target = join(archive, item.filename);
  mkdirSync(dirname(target), { recursive: true });
  copyFileSync(packageFile(store, item), target);
  rmSync(packageFile(store, item));
}
