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
import { syncFileSystemArgv } from '../tools/sync.ts';

export interface TreeOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onWait?: () => void;
  /** Digest over all that the tree will hold, in hex, where it is known. */
  readonly contents?: string;
}

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
    options: TreeOptions,
  ): Promise<string>;
  /** Digest over all that the tree holds (`hashTrees`), in hex, where that was noted. */
  contents(key: Digest): Promise<string | undefined>;
  /** Makes every tree made since survive a power loss, and notes what is in it for `ingot store verify`. */
  sync(signal?: AbortSignal): Promise<void>;
}

export async function openTreeStore(store: Store): Promise<TreeStore> {
  const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
  const unsynced = new Map<string, { readonly record: TreeRecord; readonly contents: Promise<string | undefined> }>();
  let writing: Promise<unknown> = Promise.resolve();
  /** Whether or not it works: at the end it is done again, and then it has to. */
  const beginToWrite = (signal: AbortSignal | undefined): void => {
    writing = writing.then(() => run(syncFileSystemArgv(store.root), { signal })).catch(() => undefined);
  };
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
    async ensure(key, step, make, { signal, onWait, contents }) {
      const existing = await find(key);
      if (existing !== undefined) return existing;
      await using _lock = await store.lock(`tree-${hexOf(key)}`, signal, onWait);
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
      // Both while others go on: at the end they would be waited for.
      beginToWrite(signal);
      const known = contents === undefined ? contentsOf(rootIn(folder), signal) : Promise.resolve(contents);
      known.catch(() => undefined); // awaited at the end, if it comes to that
      unsynced.set(folder, { record, contents: known });
      return rootIn(folder);
    },
    async contents(key) {
      const record = await readTreeRecord(folderOf(key));
      return record === 'damaged' ? undefined : record?.contents;
    },
    async sync(signal) {
      if (unsynced.size === 0) return;
      await writing;
      await run(syncFileSystemArgv(store.root), { signal });
      for (const [folder, { record, contents }] of unsynced) {
        const hex = await contents;
        const text = { ...record, synced: true, ...(hex !== undefined && { contents: hex }) };
        await writeFileAtomically(join(folder, TREE_RECORD), JSON.stringify(text satisfies TreeRecord));
      }
      unsynced.clear();
    },
  };
}

/** Undefined when it cannot be read: `ingot store verify` says so. */
async function contentsOf(root: string, signal: AbortSignal | undefined): Promise<string | undefined> {
  const hash = (await hashTrees([root], { signal, yields: true })).get(root);
  return hash !== undefined && 'hex' in hash ? hash.hex : undefined;
}

function rootIn(folder: string): string {
  return join(folder, 'root');
}
