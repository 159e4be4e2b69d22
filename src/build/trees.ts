/**
 * Layer trees in the store: `trees/<key>/{root,record.json}`, made once by whoever comes first and shared by every
 * build that needs them.
 *
 * A tree is hundreds of megabytes of small files, and syncing it would cost more than making it again; so its
 * record names the boot it was made in and whether the store was synced since. After a power loss a tree that was
 * not synced is made anew.
 */
import { mkdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { hexOf, type Digest } from '../digest.ts';
import { run } from '../proc/run.ts';
import { hashTrees } from '../store/hashing.ts';
import { markUsed } from '../store/sound-blob.ts';
import { writeFileAtomically, type Store } from '../store/store.ts';
import { readTreeRecord, TREE_RECORD, type TreeRecord } from '../store/tree-record.ts';

export interface TreeStore {
  /** The tree's root directory when the store has it whole. */
  find(key: Digest): Promise<string | undefined>;
  /**
   * The tree's root directory, made by `make` when it is missing. `make` fills an empty directory, which becomes
   * the tree only when `make` succeeds. Others who want the same tree wait, and then share it.
   */
  ensure(
    key: Digest,
    step: string,
    make: (root: string) => Promise<void>,
    wait: { readonly signal?: AbortSignal | undefined; readonly onWait?: () => void },
  ): Promise<string>;
  /** Digest over all that the tree holds (`hashTrees`), in hex, where that was noted. */
  contents(key: Digest): Promise<string | undefined>;
  /** Notes the digest of a tree that this build has made, for who has just taken it. */
  noteContents(key: Digest, contents: string): void;
  /** Makes every tree made since survive a power loss, and notes what is in it for `ingot store verify`. */
  sync(signal?: AbortSignal): Promise<void>;
}

export async function openTreeStore(store: Store): Promise<TreeStore> {
  const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
  const unsynced = new Map<string, TreeRecord>();
  const folderOf = (key: Digest): string => store.path('trees', hexOf(key));

  const find = async (key: Digest): Promise<string | undefined> => {
    const folder = folderOf(key);
    const record = await readTreeRecord(folder);
    if (record === undefined || record === 'damaged') return undefined;
    const whole = record.synced || record.boot === boot;
    if (whole) await markUsed(join(folder, TREE_RECORD));
    return whole ? rootIn(folder) : undefined;
  };

  return {
    find,
    async ensure(key, step, make, wait) {
      const existing = await find(key);
      if (existing !== undefined) return existing;
      await using _lock = await store.lock(`tree-${hexOf(key)}`, wait.signal, wait.onWait);
      const made = await find(key); // by whom we waited for
      if (made !== undefined) return made;
      const folder = folderOf(key);
      await rm(folder, { recursive: true, force: true });
      await using scratch = await store.scratch(`tree-${step}`);
      const root = join(scratch.path, 'tree', 'root');
      await mkdir(root, { recursive: true });
      await make(root);
      const record: TreeRecord = { step, boot, synced: false };
      await writeFileAtomically(join(scratch.path, 'tree', TREE_RECORD), JSON.stringify(record));
      await rename(join(scratch.path, 'tree'), folder);
      unsynced.set(folder, record);
      return join(folder, 'root');
    },
    async contents(key) {
      const record = await readTreeRecord(folderOf(key));
      return record === 'damaged' ? undefined : record?.contents;
    },
    noteContents(key, contents) {
      const record = unsynced.get(folderOf(key));
      if (record !== undefined) unsynced.set(folderOf(key), { ...record, contents });
    },
    async sync(signal) {
      if (unsynced.size === 0) return;
      await run(['sync', '--file-system', store.root], { signal });
      const unknown = [...unsynced].filter(([, record]) => record.contents === undefined);
      const hashes = await hashTrees(
        unknown.map(([folder]) => rootIn(folder)),
        { signal },
      );
      for (const [folder, record] of unsynced) {
        const hash = hashes.get(rootIn(folder));
        const contents = hash !== undefined && 'hex' in hash ? { contents: hash.hex } : {};
        const text = JSON.stringify({ ...record, synced: true, ...contents } satisfies TreeRecord);
        await writeFileAtomically(join(folder, TREE_RECORD), text);
      }
      unsynced.clear();
    },
  };
}

function rootIn(folder: string): string {
  return join(folder, 'root');
}
