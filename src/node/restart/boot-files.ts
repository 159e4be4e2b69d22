/** What of two deployments' kernels differs: the kernel, its initramfs, its modules. */
import type { Dirent } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join, relative } from 'node:path';

import type { FileChange } from '../../compare/stack-layers.ts';

const MODULES = 'usr/lib/modules';

/** Changes below /usr/lib/modules of one deployment's folder against another's. */
export async function compareBootFiles(from: string, to: string): Promise<FileChange[]> {
  const [before, after] = await Promise.all([filesBelow(from), filesBelow(to)]);
  const changes: FileChange[] = [];
  for (const path of before) if (!after.has(path)) changes.push({ path, change: 'removed' });
  for (const path of after) {
    if (!before.has(path)) changes.push({ path, change: 'added' });
    else if (!(await isSameFile(join(from, path), join(to, path)))) {
      changes.push({ path, change: 'changed', what: ['content'] });
    }
  }
  return changes;
}

async function filesBelow(folder: string): Promise<ReadonlySet<string>> {
  const found = await readdir(join(folder, MODULES), { recursive: true, withFileTypes: true }).catch(
    (): Dirent[] => [],
  );
  const files = found.filter((entry) => entry.isFile());
  return new Set(files.map((entry) => relative(folder, join(entry.parentPath, entry.name))));
}

/** Deployments are hard links into one repository, so equal files mostly are one. */
async function isSameFile(one: string, other: string): Promise<boolean> {
  const [left, right] = await Promise.all([stat(one), stat(other)]);
  if (left.dev === right.dev && left.ino === right.ino) return true;
  return left.size === right.size && (await readFile(one)).equals(await readFile(other));
}
