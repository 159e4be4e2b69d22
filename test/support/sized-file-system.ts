/** A real ext4 of a chosen size, on a file. Needs root and a loop device. */
import { open, rm } from 'node:fs/promises';

import { run } from '../../src/proc/run.ts';

export interface SizedFileSystem extends AsyncDisposable {
  /** Takes all that is free but for so many bytes. */
  fill(spare: number): Promise<void>;
  empty(): Promise<void>;
}

/** @param folder where it is mounted, and whose files go into it; @param file is made, and removed again */
export async function mountSized(folder: string, file: string, bytes: number): Promise<SizedFileSystem> {
  const handle = await open(file, 'wx');
  await handle.truncate(bytes);
  await handle.close();
  await run(['mkfs.ext4', '-q', '-m', '0', '-O', 'verity', '-d', folder, file]);
  await run(['mount', '-o', 'loop', file, folder]);
  await rm(`${folder}/lost+found`, { recursive: true });
  const filler = `${folder}/filler`;
  return {
    fill: async (spare) => {
      const { stdout } = await run(['stat', '-f', '-c', '%a %S', folder]);
      const [blocks = 0, size = 0] = stdout.split(' ').map(Number);
      const wanted = blocks * size - spare;
      if (wanted > 0) await run(['fallocate', '-l', String(wanted), filler]);
    },
    empty: () => rm(filler, { force: true }),
    [Symbol.asyncDispose]: async () => {
      await run(['umount', folder]);
      await rm(file);
    },
  };
}
