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
import { z } from 'zod';

import { hexOf, type Digest } from '../digest.ts';
import { errnoOf } from '../errors.ts';
import { run } from '../proc/run.ts';
import { writeFileAtomically, type Store } from '../store/store.ts';

const TreeRecord = z.object({ step: z.string(), boot: z.string(), synced: z.boolean() });
type TreeRecord = z.infer<typeof TreeRecord>;

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
  /** Makes every tree made since survive a power loss. */
  sync(): Promise<void>;
}

export async function openTreeStore(store: Store): Promise<TreeStore> {
  const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
  const unsynced = new Map<string, TreeRecord>();
  const folderOf = (key: Digest): string => store.path('trees', hexOf(key));

  const find = async (key: Digest): Promise<string | undefined> => {
    const folder = folderOf(key);
    let text: string;
    try {
      text = await readFile(join(folder, 'record.json'), 'utf8');
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw error;
    }
    const record = parseRecord(text);
    const whole = record !== undefined && (record.synced || record.boot === boot);
    return whole ? join(folder, 'root') : undefined;
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
      await writeFileAtomically(join(scratch.path, 'tree', 'record.json'), JSON.stringify(record));
      await rename(join(scratch.path, 'tree'), folder);
      unsynced.set(folder, record);
      return join(folder, 'root');
    },
    async sync() {
      if (unsynced.size === 0) return;
      await run(['sync', '--file-system', store.root]);
      for (const [folder, record] of unsynced) {
        await writeFileAtomically(join(folder, 'record.json'), JSON.stringify({ ...record, synced: true }));
      }
      unsynced.clear();
    },
  };
}

function parseRecord(text: string): TreeRecord | undefined {
  try {
    return TreeRecord.parse(JSON.parse(text));
  } catch {
    return undefined; // cut short by a crash: the tree is made anew
  }
}
