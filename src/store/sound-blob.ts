/**
 * Whether a blob still is what its name says, without hashing it every time: what it looked like when it was last
 * hashed is kept in a record, and only one that looks different is hashed again. So what wrote to a blob is found out
 * by the next build, and a disk that returns other bits than were written by `ingot store verify`.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import * as z from 'zod';

import { errnoOf } from '../errors.ts';
import { hashContents } from './hash-contents.ts';
import { hashFiles } from './hashing.ts';

const Looks = z.object({ size: z.string(), mtime: z.string(), inode: z.string() });
type Looks = z.infer<typeof Looks>;

/** Bytes of the blob at `path` when its SHA-256 is `hex`; otherwise it is removed. */
export async function soundSize(path: string, hex: string, record: string): Promise<number | undefined> {
  const looks = await looksOf(path);
  if (looks === undefined) return undefined;
  const known = await readLooks(record);
  if (known !== undefined && isSame(known, looks)) {
    await markUsed(record);
    return Number(looks.size);
  }
  if ((await hashOf(path, Number(looks.size))) !== hex) {
    await rm(path, { force: true }).catch(ignoreForbidden);
    return undefined;
  }
  await writeLooks(record, looks);
  return Number(looks.size);
}

/** Whether `path` is the very file that is the blob, and that looks as it did when it was last hashed. */
export async function isSoundLink(path: string, blob: string, record: string): Promise<boolean> {
  const [one, other, known] = await Promise.all([looksOf(path), looksOf(blob), readLooks(record)]);
  if (one === undefined || other === undefined || known === undefined) return false;
  return one.device === other.device && isSame(one, other) && isSame(one, known);
}

/** Below this a thread of its own takes longer to start than to hash. */
const SMALL_BYTES = 8 * 1024 * 1024;

async function hashOf(path: string, size: number): Promise<string | undefined> {
  if (size <= SMALL_BYTES) return hashContents(path);
  const hashed = (await hashFiles([path])).get(path);
  return hashed !== undefined && 'hex' in hashed ? hashed.hex : undefined;
}

export async function recordLooks(path: string, record: string): Promise<void> {
  const looks = await looksOf(path);
  if (looks !== undefined) await writeLooks(record, looks);
}

/**
 * Notes that something is used now. Access times do not: most file systems are mounted to forget them. Not synced: what
 * a power loss takes back is a place in the order of collecting.
 */
export async function markUsed(path: string): Promise<void> {
  const now = new Date();
  await utimes(path, now, now).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT') ignoreForbidden(error);
  });
}

async function looksOf(path: string): Promise<(Looks & { readonly device: bigint }) | undefined> {
  try {
    const { size, mtimeNs, ino, dev } = await stat(path, { bigint: true });
    return { size: String(size), mtime: String(mtimeNs), inode: String(ino), device: dev };
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function isSame(one: Looks, other: Looks): boolean {
  return one.size === other.size && one.mtime === other.mtime && one.inode === other.inode;
}

async function readLooks(record: string): Promise<Looks | undefined> {
  try {
    return Looks.safeParse(JSON.parse(await readFile(record, 'utf8'))).data;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** Not synced: a record that a power loss cuts short says nothing, and the blob is hashed once more. */
async function writeLooks(record: string, { size, mtime, inode }: Looks): Promise<void> {
  const temporary = `${record}.${randomUUID()}.tmp`;
  try {
    await mkdir(dirname(record), { recursive: true });
    await writeFile(temporary, JSON.stringify({ size, mtime, inode }));
    await rename(temporary, record);
  } catch (error) {
    await rm(temporary, { force: true }).catch(ignoreForbidden);
    ignoreForbidden(error);
  }
}

/** Somebody who may only read the store. */
function ignoreForbidden(error: unknown): void {
  if (!['EACCES', 'EPERM', 'EROFS'].includes(errnoOf(error) ?? '')) throw error;
}
