/** How much a folder takes on ext4. */
import { opendir, lstat } from 'node:fs/promises';
import { join } from 'node:path';

const BLOCK = 4096;

/**
 * Bytes that a tree takes as ext4 with 4 KiB blocks: whole blocks, hard-linked files once, and an inode for each.
 * What the file system of the tree itself does (sparse files, compression, other block sizes) does not count.
 */
export async function treeBytes(root: string): Promise<number> {
  const INODE = 256;
  const seen = new Set<string>();
  let bytes = BLOCK;
  const pending = [root];
  for (let folder = pending.pop(); folder !== undefined; folder = pending.pop()) {
    for await (const entry of await opendir(folder)) {
      const path = join(folder, entry.name);
      const status = await lstat(path);
      if (status.isDirectory()) pending.push(path);
      else if (status.nlink > 1) {
        const inode = `${status.dev}:${status.ino}`;
        if (seen.has(inode)) continue;
        seen.add(inode);
      }
      const content = status.isSymbolicLink() && status.size < 60 ? 0 : status.size;
      bytes += INODE + Math.ceil(content / BLOCK) * BLOCK;
    }
  }
  return bytes;
}
