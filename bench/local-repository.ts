/** A package repository in a folder: exactly a lock's packages, hard-linked from the store. */
import pLimit from 'p-limit';
import { createHash } from 'node:crypto';
import { link, mkdir, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { basename, join } from 'node:path';

import type { LockedPackage } from '../src/packages/package.ts';
import { run } from '../src/proc/run.ts';
import type { Store } from '../src/store/store.ts';

export interface RepositoryOptions {
  readonly store: Store;
  readonly suite: string;
  readonly architecture: string;
  readonly packages: readonly LockedPackage[];
  readonly signal?: AbortSignal | undefined;
}

/**
 * Fills the empty folder `root`, which must be on the store's file system, so that `SCHEME:ROOT SUITE main` is a
 * package source. Unsigned: the packages were verified when they came into the store.
 */
export async function makeRepository(root: string, options: RepositoryOptions): Promise<void> {
  const { store, suite, architecture, packages, signal } = options;
  await mkdir(join(root, 'pool'));
  const limit = pLimit(availableParallelism());
  const stanzas = await Promise.all(
    packages.map((file) =>
      limit(async () => {
        // mkosi takes a package's name from its file's.
        const folder = `pool/${file.sha256.slice(0, 2)}`;
        await mkdir(join(root, folder), { recursive: true });
        const path = `${folder}/${basename(file.filename)}`;
        await link(store.packagePath(file.sha256), join(root, path));
        const { stdout } = await run(['dpkg-deb', '--field', join(root, path)], { signal });
        return `${stdout}\nFilename: ${path}\nSize: ${file.size}\nSHA256: ${file.sha256}\n`;
      }),
    ),
  );
  const index = stanzas.join('\n');
  const folder = join(root, 'dists', suite);
  const name = `main/binary-${architecture}/Packages`;
  await mkdir(join(folder, `main/binary-${architecture}`), { recursive: true });
  await writeFile(join(folder, name), index);
  // mmdebstrap finds the essential packages by the code name that the index belongs to.
  await writeFile(
    join(folder, 'Release'),
    [
      `Suite: ${suite}`,
      `Codename: ${suite}`,
      `Architectures: ${architecture}`,
      'Components: main',
      `Date: ${new Date().toUTCString()}`,
      'SHA256:',
      ` ${createHash('sha256').update(index).digest('hex')} ${Buffer.byteLength(index)} ${name}`,
      '',
    ].join('\n'),
  );
}
