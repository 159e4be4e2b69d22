/** Writes the files of a plan: texts as they stand in it, blobs from the store when they are what the plan names. */
import { hexOf } from '../digest.ts';
import { verifiedChunks } from '../oci/blob.ts';
import type { PlannedBlob, PlannedFile } from '../plan/plan.ts';
import type { Store } from '../store/store.ts';
import type { RootFs } from './root-fs.ts';
import { ownerOf, readAccounts, type Accounts } from './seal/accounts.ts';

export async function writePlannedFiles(
  fs: RootFs,
  files: readonly PlannedFile[],
  store: Store,
): Promise<void> {
  const accounts = await readAccounts(fs);
  for (const file of files) await writePlannedFile(fs, file, accounts, store);
}

/** @throws IngotError NOT_FOUND, DIGEST_MISMATCH for a blob that the store lacks or that is damaged; BUILD_FAILED */
export async function writePlannedFile(
  fs: RootFs,
  file: PlannedFile,
  accounts: Accounts,
  store: Store,
): Promise<void> {
  if ('link' in file) {
    await fs.link(file.path, file.link);
    return;
  }
  const content = 'blob' in file ? await readBlob(store, file.blob) : file.content;
  await fs.writeFile(file.path, content, file.mode, ownerOf(accounts, file.user, file.group));
}

async function readBlob(store: Store, { digest, size }: PlannedBlob['blob']): Promise<Buffer> {
  const descriptor = { mediaType: 'application/octet-stream', digest, size };
  const chunks: Buffer[] = [];
  for await (const chunk of verifiedChunks(store.blobPath(hexOf(digest)), descriptor)) chunks.push(chunk);
  return Buffer.concat(chunks, size);
}
