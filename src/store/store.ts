/**
 * The store: a content-addressed local cache, shared by any number of builds at once.
 *
 *   packages/<2 hex>/<sha256>.deb     downloaded packages (or .rpm), verified before they get this name
 *   trees/<key>/                      unpacked layer trees (`root/`, plus a `record.json` beside it)
 *   blobs/sha256/<hex>                OCI blobs, and large files of plans
 *   blobs/partial/<hex>               the beginnings of blobs whose download was cut short
 *   disks/<key>.raw                   disks made to test images
 *   records/<kind>/<key>.json         what a key was built into; `records/blobs` what blobs looked like when hashed
 *   apt/<hex>/                        package indexes
 *   locks/                            lock files; see proc/file-lock.ts
 *   tmp/                              everything unfinished; nothing here is ever trusted
 *
 * Whatever has its final name is whole: it was written under tmp/, synced, and renamed. A name is never
 * rewritten with other content.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, open, readFile, realpath, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { errnoOf, IngotError } from '../errors.ts';
import { acquireFileLock, acquireFileLocks, type FileLock, type FileLockOptions } from '../proc/file-lock.ts';
import { isSoundLink, recordLooks, soundSize } from './sound-blob.ts';

export interface ScratchDirectory extends AsyncDisposable {
  readonly path: string;
}

export class Store {
  readonly root: string;

  private constructor(root: string) {
    this.root = root;
  }

  /**
   * Opens a store, creating it when it is not there. A link on the way to it is followed once, here: trees mounted in
   * another mount namespace are reached through /proc/PID/root, from where an absolute link leads out again.
   */
  static async open(path: string): Promise<Store> {
    let root = path;
    try {
      await makeFolder(root);
      root = await realpath(root);
      for (const folder of ['packages', 'trees', 'blobs/sha256', 'disks', 'records', 'apt', 'locks', 'tmp']) {
        await makeFolder(join(root, folder));
      }
    } catch (error) {
      throw new IngotError('ENVIRONMENT', `the store ${root} cannot be used (${errnoOf(error) ?? 'error'})`, {
        hint: 'set INGOT_STORE or --store to a folder that can be written',
        cause: error,
      });
    }
    return new Store(root);
  }

  /** A store to read from, whether or not it is there: nothing is created. */
  static peek(root: string): Store {
    return new Store(root);
  }

  path(...segments: readonly string[]): string {
    return join(this.root, ...segments);
  }

  packagePath(sha256: string, format: 'deb' | 'rpm' = 'deb'): string {
    return this.path('packages', this.packageName(sha256, format));
  }

  /** Below the folder of packages. */
  packageName(sha256: string, format: 'deb' | 'rpm'): string {
    return `${sha256.slice(0, 2)}/${sha256}.${format}`;
  }

  async hasPackage(sha256: string, format: 'deb' | 'rpm'): Promise<boolean> {
    return (await stat(this.packagePath(sha256, format)).catch(() => undefined))?.isFile() === true;
  }

  blobPath(hex: string): string {
    return this.path('blobs', 'sha256', hex);
  }

  /** Where a blob grows while it is fetched. Whoever writes there holds the lock `blob-<hex>`. */
  partialBlobPath(hex: string): string {
    return this.path('blobs', 'partial', hex);
  }

  /**
   * Bytes of a blob, or undefined when the store does not have it as its name says: one that was touched since it was
   * last hashed is hashed again, and removed when it is damaged.
   */
  async blobSize(hex: string): Promise<number | undefined> {
    return soundSize(this.blobPath(hex), hex, this.#blobRecord(hex));
  }

  /** Whether a file elsewhere is a hard link of this blob, which nobody touched since it was last hashed. */
  async isSoundLink(path: string, hex: string): Promise<boolean> {
    return isSoundLink(path, this.blobPath(hex), this.#blobRecord(hex));
  }

  /** Notes what a blob that was just hashed looks like, so that it need not be hashed again. */
  async recordBlob(hex: string): Promise<void> {
    await recordLooks(this.blobPath(hex), this.#blobRecord(hex));
  }

  #blobRecord(hex: string): string {
    return this.path('records', 'blobs', `${hex}.json`);
  }

  /**
   * Holds the store-wide lock `name` (letters, digits, dots, dashes) until disposed. Held locks vanish with their
   * process, however it ends. Waiters are told once through `onWait`.
   */
  async lock(
    name: string,
    signal?: AbortSignal,
    onWait?: () => void,
    options: Pick<FileLockOptions, 'shared'> = {},
  ): Promise<FileLock> {
    return acquireFileLock(this.lockPath(name), { signal, onWait, ...options });
  }

  lockPath(name: string): string {
    return this.path('locks', `${name}.lock`);
  }

  /** Holds the locks of blobs, under which they grow where they are fetched. */
  async lockBlobs(hexes: readonly string[], signal?: AbortSignal): Promise<AsyncDisposable> {
    const paths = hexes.map((hex) => this.path('locks', `blob-${hex}.lock`));
    return acquireFileLocks(paths, `of ${hexes.length} blobs of ${this.root}`, { signal });
  }

  /**
   * Held by everything that relies on what it finds in the store. `gc` waits for all such holders, and they for it;
   * they do not wait for each other.
   */
  async use(signal?: AbortSignal, onWait?: () => void): Promise<FileLock> {
    return acquireFileLock(this.lockPath('store'), { signal, onWait, shared: true });
  }

  /** A fresh folder under tmp/, removed when disposed. */
  async scratch(prefix: string): Promise<ScratchDirectory> {
    const path = await mkdtemp(this.path('tmp', `${prefix}-${process.pid}-`));
    return {
      path,
      [Symbol.asyncDispose]: async () => {
        await rm(path, { recursive: true, force: true, maxRetries: 3 });
      },
    };
  }

  /** What a key was built into, or undefined. A record that does not parse counts as absent. */
  async readRecord(kind: string, key: string): Promise<unknown> {
    try {
      return JSON.parse(await readFile(this.path('records', kind, `${key}.json`), 'utf8'));
    } catch (error) {
      if (errnoOf(error) === 'ENOENT' || error instanceof SyntaxError) return undefined;
      throw error;
    }
  }

  /** For records whose key is the digest of their value. */
  async writeRecordOnce(kind: string, key: string, value: unknown): Promise<void> {
    if ((await this.readRecord(kind, key)) === undefined) await this.writeRecord(kind, key, value);
  }

  async writeRecord(kind: string, key: string, value: unknown): Promise<void> {
    await writeFileAtomically(
      this.path('records', kind, `${key}.json`),
      `${JSON.stringify(value, null, 2)}\n`,
    );
  }
}

/** Node's own recursive mkdir never ends where the kernel denies a new name with ENOENT, as below /proc. */
async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path);
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return; // if it is no folder, the first one in it says so
    if (errnoOf(error) !== 'ENOENT' || dirname(path) === path) throw error;
    await makeFolder(dirname(path));
    await mkdir(path).catch((again: unknown) => {
      if (errnoOf(again) !== 'EEXIST') throw again; // another process was quicker
    });
  }
}

/**
 * Writes to a temporary name beside `path`, syncs, and renames: readers see the old file or the new one, whole. What is
 * no file, such as /dev/null, is written to as it is.
 */
export async function writeFileAtomically(path: string, data: string | Uint8Array): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const existing = await stat(path).catch(() => undefined);
  if (existing !== undefined && !existing.isFile() && !existing.isDirectory()) {
    await writeFile(path, data);
    return;
  }
  const temporary = `${path}.${randomUUID()}.tmp`;
  try {
    await writeFile(temporary, data, { flush: true });
    await rename(temporary, path);
    await syncDirectory(dirname(path));
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** Makes a rename in this directory survive power loss. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
