/**
 * Digest over the code that decides an image's bits. A number that somebody must remember to raise would one day
 * be forgotten; the code itself is never out of date.
 */
import type { Dirent } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';

import { digestOfJson, type Digest } from '../digest.ts';
import { errnoOf, IngotError } from '../errors.ts';

const SOURCE = join(import.meta.dirname, '..');
/** Folders of the source whose code reaches the bits, through trees, archives or the image's own documents. */
const FOLDERS = ['build', 'plan', 'tools'];

export async function builderDigest(): Promise<Digest> {
  return await codeDigest(FOLDERS);
}

/** Digest over the code in some folders of the source, tests left out, and over the Node that runs it. */
export async function codeDigest(folders: readonly string[]): Promise<Digest> {
  const files: [string, string][] = [];
  for (const folder of folders) {
    const entries = await listSources(folder);
    for (const entry of entries) {
      if (!entry.isFile() || !/\.[jt]s$/.test(entry.name) || /\.(?:test|d)\.[jt]s$/.test(entry.name)) continue;
      const path = join(entry.parentPath, entry.name);
      files.push([relative(SOURCE, path), await readFile(path, 'utf8')]);
    }
  }
  files.sort(([left], [right]) => (left < right ? -1 : 1));
  return digestOfJson({ node: process.versions.node.split('.')[0], files });
}

async function listSources(folder: string): Promise<Dirent[]> {
  try {
    return await readdir(join(SOURCE, folder), { recursive: true, withFileTypes: true });
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
    throw new IngotError('ENVIRONMENT', 'this copy of Ingot is the agent of a node: it builds nothing', {
      hint: 'build on a machine that Ingot is installed on whole',
      cause: error,
    });
  }
}
