/**
 * Times in trees. What packages bring has its own; what the build made has none that means anything, and one clock
 * reading per file would be no function of the lock. All of it gets one time just after the step's: still newer than
 * anything dated, and the same in a tree that is made again or restored.
 */
import { lstatSync, lutimesSync, readdirSync, type Stats } from 'node:fs';
import { join } from 'node:path';

/** Of directories, removals and files that the build made, in seconds. */
export function undatedTime(epoch: number): number {
  return epoch + 1;
}

/** Nothing may be mounted over the tree. */
export function settleTimes(root: string, epoch: number): void {
  const time = undatedTime(epoch);
  const pending = [root];
  for (let folder = pending.pop(); folder !== undefined; folder = pending.pop()) {
    for (const name of readdirSync(folder)) {
      const path = join(folder, name);
      const stats = lstatSync(path);
      const isDirectory = stats.isDirectory();
      if (isDirectory) pending.push(path);
      if (isDirectory || isRemoval(stats) || stats.mtimeMs > epoch * 1000) {
        lutimesSync(path, time, time);
      } else if (stats.mtimeMs % 1000 !== 0) {
        const seconds = Math.floor(stats.mtimeMs / 1000); // archives have no parts of a second
        lutimesSync(path, seconds, seconds);
      }
    }
  }
}

/** As overlayfs writes it. */
function isRemoval(stats: Stats): boolean {
  return stats.isCharacterDevice() && stats.rdev === 0;
}
