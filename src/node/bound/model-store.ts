/**
 * Files of models on a node, in a folder for each artifact: /var/lib/ingot/models/sha256-<hex>. A folder is whole when
 * it has that name, and nobody writes there again. What two versions of a model share is one file with two names.
 */
import { constants } from 'node:fs';
import { chmod, copyFile, link, mkdir, mkdtemp, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as z from 'zod';

import { type Digest, digestOfHex, DigestText, hexOf } from '../../digest.ts';
import { errnoOf, IngotError } from '../../errors.ts';
import { type BoundModel, modelPlace, MODEL_FOLDER } from '../../plan/bound.ts';
import { StoredSource } from '../../publish/stored-source.ts';
import type { ImageSource } from '../../oci/image-transfer.ts';
import type { Descriptor } from '../../oci/schema.ts';
import { Store, syncDirectory, writeFileAtomically } from '../../store/store.ts';

/** Beside each folder: what is in it, so that another version finds what it shares. */
const Contents = z.object({ files: z.array(z.object({ name: z.string(), digest: DigestText })) });

export interface FetchOptions {
  readonly signal?: AbortSignal | undefined;
  /** Told the bytes of the model that are there. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
}

export class ModelStore {
  readonly folder: string;

  constructor(folder = MODEL_FOLDER) {
    this.folder = folder;
  }

  #place(digest: Digest): string {
    return join(this.folder, modelPlace(digest).slice(MODEL_FOLDER.length + 1));
  }

  async has({ digest, files }: BoundModel): Promise<boolean> {
    for (const { name, size } of files) {
      const found = await stat(join(this.#place(digest), name)).catch(() => undefined);
      if (found?.isFile() !== true || found.size !== size) return false;
    }
    return true;
  }

  /** Files that no model here has. */
  async missing(model: BoundModel): Promise<readonly { readonly digest: Digest; readonly size: number }[]> {
    if (await this.has(model)) return [];
    const known = await this.#knownFiles();
    const files = new Map(model.files.map(({ digest, size }) => [digest, { digest, size }]));
    return [...files.values()].filter(({ digest }) => !known.has(digest));
  }

  /**
   * Puts a model in place. What was pulled before it was cut short is not pulled again.
   *
   * @throws IngotError DIGEST_MISMATCH, DISK_FULL, and what the source throws
   */
  async fetch(model: BoundModel, source: ImageSource, options: FetchOptions = {}): Promise<void> {
    if (await this.has(model)) return;
    const { signal, onProgress } = options;
    const place = this.#place(model.digest);
    await mkdir(this.folder, { recursive: true });
    const store = await Store.open(join(this.folder, 'store'));
    const stored = new StoredSource(source, store);
    const work = await mkdtemp(join(this.folder, 'work-'));
    try {
      const known = await this.#knownFiles();
      const folders = new Set([work]);
      let done = 0;
      for (const { name, digest, size } of model.files) {
        const target = join(work, name);
        for (let at = dirname(target); !folders.has(at); at = dirname(at)) folders.add(at);
        await mkdir(dirname(target), { recursive: true });
        const before = known.get(digest);
        if (before === undefined) {
          const descriptor: Descriptor = { mediaType: 'application/octet-stream', digest, size };
          const report = (moved: number): void => onProgress?.(done + moved);
          const blob = await stored.blobFile(descriptor, { signal, onProgress: report });
          await takeFile(blob, target, store);
          await chmod(target, 0o444);
        } else {
          await link(before, target);
        }
        // A second name for the same content in this model.
        known.set(digest, target);
        done += size;
        onProgress?.(done);
      }
      for (const folder of [...folders].sort().reverse()) {
        await chmod(folder, 0o555);
        await syncDirectory(folder);
      }
      const contents = { files: model.files.map(({ name, digest }) => ({ name, digest })) };
      await writeFileAtomically(`${place}.json`, JSON.stringify(contents));
      // One that is there and not whole: somebody has removed files of it.
      await rm(place, { recursive: true, force: true });
      await rename(work, place);
      await syncDirectory(this.folder);
      for (const { digest } of model.files) await rm(store.blobPath(hexOf(digest)), { force: true });
    } catch (error) {
      if (errnoOf(error) !== 'ENOSPC') throw error;
      throw new IngotError('DISK_FULL', `no space left for the model ${model.name}`, { cause: error });
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  }

  /** Removes all models but these, and what earlier ones left when the power went. @returns how many models */
  async collect(keep: ReadonlySet<Digest>): Promise<number> {
    let removed = 0;
    for (const name of await this.#names()) {
      const hex = /^sha256-([0-9a-f]{64})(?:\.json)?$/.exec(name)?.[1];
      const isStale = hex !== undefined && !keep.has(digestOfHex(hex));
      if (!isStale && !name.startsWith('work-')) continue;
      await rm(join(this.folder, name), { recursive: true, force: true });
      if (isStale && !name.endsWith('.json')) removed += 1;
    }
    return removed;
  }

  /** Removes what was pulled and is in no model: an update that was given up. */
  async dropPulled(): Promise<void> {
    await rm(join(this.folder, 'store'), { recursive: true, force: true });
  }

  /** Paths of files by digest. */
  async #knownFiles(): Promise<Map<Digest, string>> {
    const found = new Map<Digest, string>();
    for (const name of await this.#names()) {
      if (!/^sha256-[0-9a-f]{64}\.json$/.test(name)) continue;
      const folder = join(this.folder, name.slice(0, -'.json'.length));
      for (const file of await readContents(join(this.folder, name))) {
        const path = join(folder, file.name);
        if ((await stat(path).catch(() => undefined))?.isFile() === true) found.set(file.digest, path);
      }
    }
    return found;
  }

  async #names(): Promise<readonly string[]> {
    return await readdir(this.folder).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return [];
      throw error;
    });
  }
}

async function readContents(path: string): Promise<z.infer<typeof Contents>['files']> {
  try {
    return Contents.parse(JSON.parse(await readFile(path, 'utf8'))).files;
  } catch {
    return []; // cut short: its files are pulled again where they are wanted
  }
}

/** Out of the store, where it lies alone, or a copy of what belongs to somebody else. */
async function takeFile(path: string, target: string, { root }: Store): Promise<void> {
  if (path.startsWith(`${root}/`)) await link(path, target);
  else await copyFile(path, target, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
}
