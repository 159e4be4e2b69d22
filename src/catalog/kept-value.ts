/**
 * What our code makes of a folder of text, kept from run to run: to parse and check the facts takes ten times as long
 * as everything that is then asked of them.
 *
 * It lies beside Node's compiled copies of our code, is found again by the very bytes of the text and of the code that
 * read it, and is taken only when it is whole. Without such a folder nothing is kept.
 */
import { createHash, randomUUID } from 'node:crypto';
import { readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { getCompileCacheDir } from 'node:module';
import { join } from 'node:path';
import { deserialize, serialize } from 'node:v8';

import { errnoOf } from '../errors.ts';

export interface KeptOptions<T> {
  /** Begins the file's name. */
  readonly name: string;
  /** Of the text. */
  readonly folder: string;
  /** Files and folders of the code that makes the value. */
  readonly code: readonly string[];
  readonly make: () => Promise<T>;
  /** Default: whatever is made without throwing may be kept. */
  readonly isKept?: (value: T) => boolean;
  /** Default: where Node keeps compiled code. */
  readonly keptIn?: string | undefined;
}

export interface KeptTextOptions<T> extends Pick<KeptOptions<T>, 'name' | 'code' | 'keptIn'> {
  readonly text: string;
  readonly make: () => T;
}

const DIGEST_BYTES = 32;

/** @param options of a value that survives structured cloning */
export async function keptValue<T>(options: KeptOptions<T>): Promise<T> {
  const { name, folder, make, isKept = () => true, keptIn = getCompileCacheDir() } = options;
  const places = [folder, ...options.code];
  const key = keptIn === undefined ? undefined : keyOf(places);
  // One file for each place, so that edits leave nothing behind.
  const place = createHash('sha256').update(folder).digest('hex').slice(0, 16);
  if (keptIn === undefined || key === undefined) return make();
  const file = join(keptIn, `${name}-${place}`);
  const kept = recall(file, key);
  if (kept !== undefined) return (deserialize(kept) as { readonly value: T }).value;
  const value = await make();
  // An edit meanwhile would be kept under what was there before.
  if (isKept(value) && keyOf(places)?.equals(key) === true) keep(file, key, serialize({ value }));
  return value;
}

/**
 * What our code makes of one text, such as a lock. The last one of each name is kept.
 *
 * @param options of a value that survives structured cloning
 */
export function keptOfText<T>(options: KeptTextOptions<T>): T {
  const { name, text, code, make, keptIn = getCompileCacheDir() } = options;
  const codeKey = keptIn === undefined ? undefined : keyOf(code);
  if (keptIn === undefined || codeKey === undefined) return make();
  const key = createHash('sha256').update(codeKey).update(text).digest();
  const file = join(keptIn, name);
  const kept = recall(file, key);
  if (kept !== undefined) return (deserialize(kept) as { readonly value: T }).value;
  const value = make();
  keep(file, key, serialize({ value }));
  return value;
}

/** The key, a digest of the rest, the rest. */
function recall(file: string, key: Buffer): Buffer | undefined {
  const bytes = readIfThere(file);
  if (bytes?.subarray(0, DIGEST_BYTES).equals(key) !== true) return undefined;
  const rest = bytes.subarray(2 * DIGEST_BYTES);
  return bytes.subarray(DIGEST_BYTES, 2 * DIGEST_BYTES).equals(digestOf(rest)) ? rest : undefined;
}

function keep(file: string, key: Buffer, bytes: Buffer): void {
  const temporary = `${file}.${randomUUID()}.tmp`;
  try {
    writeFileSync(temporary, Buffer.concat([key, digestOf(bytes), bytes]), { mode: 0o600 });
    renameSync(temporary, file);
  } catch (error) {
    // A full disk or a home that cannot be written: it is made again the next time.
    if (errnoOf(error) === undefined) throw error;
    rmSync(temporary, { force: true });
  }
}

/** Undefined when something cannot be read, or is neither file nor folder: whoever makes the value says so. */
function keyOf(places: readonly string[]): Buffer | undefined {
  const hash = createHash('sha256');
  try {
    for (const place of places) {
      const paths = statSync(place).isDirectory() ? filesBelow(place) : [place];
      if (paths === undefined) return undefined;
      for (const path of paths) {
        // Synchronous, which for many small files takes a third of the time.
        const bytes = readFileSync(path);
        hash.update(`${path}\0${bytes.length}\0`).update(bytes);
      }
      hash.update('\0');
    }
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return undefined;
  }
  return hash.digest();
}

/** In name order. */
function filesBelow(folder: string): string[] | undefined {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => !entry.isDirectory());
  if (!files.every((entry) => entry.isFile())) return undefined;
  return files.map((entry) => join(entry.parentPath, entry.name)).sort();
}

function readIfThere(file: string): Buffer | undefined {
  try {
    return readFileSync(file);
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return undefined;
  }
}

function digestOf(bytes: Buffer): Buffer {
  return createHash('sha256').update(bytes).digest();
}
