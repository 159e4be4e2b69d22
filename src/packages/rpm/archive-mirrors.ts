/** Where the archives of a lock are: vendors' own places, and the first of a list of mirrors, which is asked for now. */
import { IngotError } from '../../errors.ts';
import { Downloader } from '../download.ts';
import { withRepositories, type Mirrors } from '../mirror.ts';
import type { LockedArchive } from '../package.ts';
import { parseMirrorList } from './repomd.ts';

const MAX_LIST_BYTES = 4 * 1024 * 1024;
const IDLE_MS = 30_000;

/** @throws IngotError MIRROR_UNREACHABLE */
export async function archiveMirrors(
  mirrors: Mirrors,
  archives: readonly LockedArchive[],
  signal: AbortSignal = new AbortController().signal,
): Promise<Mirrors> {
  using downloader = new Downloader(1, mirrors.proxies);
  const placed: LockedArchive[] = [];
  for (const archive of archives) {
    const { name, mirrorList } = archive;
    if (mirrorList === undefined) {
      placed.push(archive);
      continue;
    }
    const unreachable = (reason: string): IngotError =>
      new IngotError(
        'MIRROR_UNREACHABLE',
        `the mirrors of the repository ${name} cannot be found: ${reason}`,
        {
          hint: 'check the network',
        },
      );
    try {
      const text = await downloader.read(mirrorList, { maxBytes: MAX_LIST_BYTES, idleMs: IDLE_MS, signal });
      const [url] = parseMirrorList(text.toString());
      if (url === undefined) throw unreachable('the list of them is empty');
      placed.push({ ...archive, url });
    } catch (error) {
      if (error instanceof IngotError) throw error;
      throw unreachable(error instanceof Error ? error.message : String(error));
    }
  }
  return withRepositories(mirrors, placed);
}
