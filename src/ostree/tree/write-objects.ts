/** Objects of our own making into an ostree repository, none of which is ever there half. */
import { access, mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import pLimit from 'p-limit';

import { syncFileSystemArgv } from '../../tools/sync.ts';
import { asDiskFailure, type OstreeTools } from '../disk-tools.ts';
import { type Checksum, objectPath } from './tree-objects.ts';

export interface WrittenObject {
  readonly checksum: Checksum;
  readonly kind: 'dirtree' | 'dirmeta' | 'commit';
  readonly bytes: Buffer;
}

const AT_ONCE = 8;

/**
 * Writes those that are not there. libostree takes an object that is there for whole, so each is moved to its name when
 * its bytes would survive a power loss, and when those of the groups before have theirs.
 *
 * @param isDurable whether a power loss may come
 * @throws IngotError DISK_FULL, DISK_FAILED, INTERRUPTED
 */
export async function writeObjects(
  repo: string,
  groups: readonly (readonly WrittenObject[])[],
  isDurable: boolean,
  tools: OstreeTools,
): Promise<void> {
  const limit = pLimit(AT_ONCE);
  const missing = await Promise.all(
    groups.map(async (objects) => {
      const areThere = await Promise.all(objects.map((object) => limit(() => isThere(repo, object))));
      return objects.filter((_, index) => areThere[index] !== true);
    }),
  );
  const writing = missing.filter((objects) => objects.length > 0);
  if (writing.length === 0) return;
  const sync = async (): Promise<void> => {
    if (isDurable) await tools.run(syncFileSystemArgv(repo), [{ path: repo }]);
  };
  await asDiskFailure(
    (async () => {
      const folder = await mkdtemp(join(repo, 'tmp/ingot-'));
      try {
        const ours = ({ checksum, kind }: WrittenObject): string =>
          join(folder, objectPath(checksum, kind).replace('/', ''));
        await Promise.all(
          writing.flat().map((object) => limit(() => writeFile(ours(object), object.bytes, { mode: 0o644 }))),
        );
        await sync();
        for (const objects of writing) {
          const places = new Set(objects.map((object) => dirname(placeOf(repo, object))));
          for (const place of places) await mkdir(place, { recursive: true, mode: 0o755 });
          await Promise.all(
            objects.map((object) => limit(() => rename(ours(object), placeOf(repo, object)))),
          );
          await sync();
        }
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    })(),
  );
}

function placeOf(repo: string, { checksum, kind }: WrittenObject): string {
  return join(repo, 'objects', objectPath(checksum, kind));
}

async function isThere(repo: string, object: WrittenObject): Promise<boolean> {
  return await access(placeOf(repo, object)).then(
    () => true,
    () => false,
  );
}
