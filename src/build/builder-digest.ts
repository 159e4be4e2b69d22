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

/** What makes a root from packages, for programs to run from. */
const ROOT_CODE = ['build/debian/bootstrap.ts', 'build/sandbox.ts', 'tools/bubblewrap.ts', 'tools/dpkg.ts'];
/** What makes kernel modules in such a root. The initramfs takes modules with their times. */
const MODULE_CODE = ['build/modules', 'build/tree-times.ts', 'tools/bubblewrap.ts'];
/** What makes blobs of them. */
const PACKING_CODE = ['build/archive', 'build/debian/package-files.ts'];

/** Over what makes a root from packages: one that is there already serves as long as this code is the same. */
export async function rootBuilderDigest(): Promise<Digest> {
  return codeDigest(ROOT_CODE);
}

export interface ModuleBuilderDigests {
  readonly builder: Digest;
  readonly rootBuilder: Digest;
  readonly packer: Digest;
}

/** Over the parts of the code that decide the bits of kernel modules, and of the root that they are built in. */
export async function moduleBuilderDigests(): Promise<ModuleBuilderDigests> {
  return {
    builder: await codeDigest(MODULE_CODE),
    rootBuilder: await rootBuilderDigest(),
    packer: await codeDigest(PACKING_CODE),
  };
}

/** Digest over the code in some folders and files of the source, tests left out, and over the Node that runs it. */
export async function codeDigest(places: readonly string[]): Promise<Digest> {
  const files: [string, string][] = [];
  for (const place of places) {
    if (place.endsWith('.ts')) {
      // A package that was built holds JavaScript.
      const path = join(SOURCE, import.meta.filename.endsWith('.js') ? place.replace(/\.ts$/, '.js') : place);
      files.push([relative(SOURCE, path), await readFile(path, 'utf8')]);
      continue;
    }
    const entries = await listSources(place);
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
