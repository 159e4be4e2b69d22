/**
 * GRUB's environment block: what GRUB and the running system tell each other across a restart.
 *
 * GRUB reads the file's blocks off the disk, without the file system's journal. So the file is only ever written in
 * place: one that `grub-editenv` has put elsewhere stays invisible to GRUB until the journal is written back. What it
 * says fits in the first of its two sectors, which a disk writes whole or not at all.
 */
import { constants } from 'node:fs';
import { lstat, open } from 'node:fs/promises';
import { dirname } from 'node:path';

import { errnoOf, IngotError } from '../../errors.ts';
import { syncDirectory } from '../../store/store.ts';

export const GRUB_ENVIRONMENT = '/boot/grub/grubenv';
/** What GRUB allocates for a block, and looks for. */
export const ENVIRONMENT_BYTES = 1024;
const SECTOR = 512;
const SIGNATURE = '# GRUB Environment Block\n';

/** Keys in the order in which they are written. */
export type GrubEnvironment = ReadonlyMap<string, string>;

/** Undefined for what GRUB would not take: grub-core/lib/envblk.c. */
export function parseEnvironment(block: Buffer): GrubEnvironment | undefined {
  const text = block.toString('latin1');
  if (block.length !== ENVIRONMENT_BYTES || !text.startsWith(SIGNATURE)) return undefined;
  const values = new Map<string, string>();
  // A backslash takes the character behind it as it is, a newline too.
  for (const [line] of text.slice(SIGNATURE.length).matchAll(/(?:[^\\\n]|\\[^])+/g)) {
    if (line.startsWith('#')) continue;
    const at = line.indexOf('=');
    if (at > 0) values.set(line.slice(0, at), line.slice(at + 1).replaceAll(/\\([^])/g, '$1'));
  }
  return values;
}

/**
 * The whole block. Empty values are left out, and so is what others have put there when it would reach into the second
 * sector.
 *
 * @param own keys that must be there
 * @throws IngotError NODE_FAILED when those alone are too long
 */
export function renderEnvironment(values: GrubEnvironment, own: readonly string[] = []): Buffer {
  const line = ([key, value]: readonly [string, string]): string =>
    `${key}=${value.replaceAll(/[\\\n]/g, '\\$&')}\n`;
  const isOwn = ([key]: readonly [string, string]): boolean => own.includes(key);
  const present = [...values].filter(([, value]) => value !== '');
  let text = SIGNATURE;
  for (const entry of [...present.filter(isOwn), ...present.filter((one) => !isOwn(one))]) {
    const next = text + line(entry);
    if (next.length <= SECTOR) text = next;
    else if (isOwn(entry)) {
      throw new IngotError('NODE_FAILED', `${entry[0]} is too long for GRUB’s environment`);
    }
  }
  const block = Buffer.alloc(ENVIRONMENT_BYTES, '#');
  block.write(text, 'latin1');
  return block;
}

/**
 * Undefined when there is no file, or one with no block in it.
 *
 * @throws IngotError NODE_FAILED for what is no regular file of the right size
 */
export async function readEnvironment(path: string): Promise<GrubEnvironment | undefined> {
  if (!(await requireBlock(path))) return undefined;
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const block = Buffer.alloc(ENVIRONMENT_BYTES);
    const { bytesRead } = await file.read(block, 0, ENVIRONMENT_BYTES, 0);
    return parseEnvironment(block.subarray(0, bytesRead));
  } finally {
    await file.close();
  }
}

/**
 * Writes the block over the one that is there, in one write; durable when this returns. A missing file is made.
 *
 * @throws IngotError NODE_FAILED as `readEnvironment` and `renderEnvironment`
 */
export async function writeEnvironment(
  path: string,
  values: GrubEnvironment,
  own: readonly string[],
): Promise<void> {
  const block = renderEnvironment(values, own);
  const isThere = await requireBlock(path);
  // Never truncated: the blocks on the disk stay where they are.
  const flags = isThere ? constants.O_RDWR : constants.O_RDWR | constants.O_CREAT | constants.O_EXCL;
  const file = await open(path, flags | constants.O_NOFOLLOW, 0o644);
  try {
    const { bytesWritten } = await file.write(block, 0, block.length, 0);
    if (bytesWritten !== block.length) throw new IngotError('NODE_FAILED', `${path} was written in part`);
    await file.sync();
  } finally {
    await file.close();
  }
  if (!isThere) await syncDirectory(dirname(path));
}

async function requireBlock(path: string): Promise<boolean> {
  try {
    const status = await lstat(path);
    if (status.isFile() && status.size === ENVIRONMENT_BYTES) return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
  throw new IngotError('NODE_FAILED', `${path} is no regular file of ${ENVIRONMENT_BYTES} bytes`, {
    hint: 'GRUB counts starts there; remove it, and `ingot node bless` makes a new one',
  });
}
