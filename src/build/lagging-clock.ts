/** Trees made on a machine whose clock is behind the lock's: what was made just now looks older than the lock. */
import { lstatSync, lutimesSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

import { undatedTime } from './tree-times.ts';

/**
 * Gives everything below `root` that was changed since `started`, in milliseconds, the time of what the build made, as
 * if the clock had been right. Where it is, nothing is to be done.
 */
export function dateByLock(root: string, started: number, epoch: number): void {
  if (started > epoch * 1000) return;
  const time = undatedTime(epoch);
  const pending = [root];
  for (let folder = pending.pop(); folder !== undefined; folder = pending.pop()) {
    for (const name of readdirSync(folder)) {
      const path = join(folder, name);
      const stats = lstatSync(path);
      if (stats.isDirectory()) pending.push(path);
      if (stats.mtimeMs >= started) lutimesSync(path, time, time);
    }
  }
}
