/** What `trees/<key>/record.json` says of the tree beside it. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';

import { errnoOf } from '../errors.ts';

export const TreeRecord = z.object({
  step: z.string(),
  /** The boot it was made in. */
  boot: z.string(),
  /** Whether it is on the disk, and not just in that boot's memory. */
  synced: z.boolean(),
  /** Of all the tree holds (`hashTrees`), in hex; absent where the tree was not written out by its own build. */
  contents: z.string().optional(),
});
export type TreeRecord = z.infer<typeof TreeRecord>;

export const TREE_RECORD = 'record.json';

/** Undefined where there is none; `damaged` for one that a crash has cut short. */
export async function readTreeRecord(folder: string): Promise<TreeRecord | 'damaged' | undefined> {
  try {
    return (
      TreeRecord.safeParse(JSON.parse(await readFile(join(folder, TREE_RECORD), 'utf8'))).data ?? 'damaged'
    );
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    if (error instanceof SyntaxError) return 'damaged';
    throw error;
  }
}
