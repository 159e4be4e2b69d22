/**
 * What the repository remembers of a layer beside its commit: the headers of its directories, which a commit does not
 * tell from those that were made for a file to lie in. With both, a layer is laid over others without its blob.
 *
 * A record is written when the blob was read to its end and is what its digest says, so a layer counts as imported by
 * its record: `/ostree/ingot/layers/sha256-<hex>`, a zstd frame of JSON.
 */
import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { zstdCompress, zstdDecompress } from 'node:zlib';
import pLimit from 'p-limit';
import * as z from 'zod';

import { type Digest, hexOf } from '../digest.ts';
import { errnoOf } from '../errors.ts';
import { writeFileAtomically } from '../store/store.ts';
import type { LayerDirectories } from './tar-directories.ts';

const Header = z.tuple([z.string(), z.number(), z.number(), z.number()]);
const Record = z.object({ version: z.literal(1), directories: z.array(Header), others: z.array(z.string()) });

/** Of a record unpacked: a layer with a million files has one of 100 MB. */
const MAX_RECORD_BYTES = 512 * 1024 * 1024;
const NAME = /^sha256-([0-9a-f]{64})$/;

export const layerRef = (digest: Digest): string => `ingot/layer/sha256-${hexOf(digest)}`;
export const imageRef = (digest: Digest): string => `ingot/image/sha256-${hexOf(digest)}`;

/** The folder of Ingot's own files beside a repository. */
export function recordsFolder(repo: string): string {
  return join(dirname(repo), 'ingot', 'layers');
}

function recordPath(repo: string, digest: Digest): string {
  return join(recordsFolder(repo), `sha256-${hexOf(digest)}`);
}

/** The file of a branch in a repository. */
function branchPath(repo: string, ref: string): string {
  return join(repo, 'refs/heads', ref);
}

export async function hasBranch(repo: string, ref: string): Promise<boolean> {
  return (await stat(branchPath(repo, ref)).catch(() => undefined))?.isFile() === true;
}

/** The commit that a branch names, 64 hex digits. @throws the file system's error when there is none */
export async function readBranch(repo: string, ref: string): Promise<string> {
  return (await readFile(branchPath(repo, ref), 'utf8')).trim();
}

export async function writeLayerRecord(repo: string, digest: Digest, layer: LayerDirectories): Promise<void> {
  const directories = layer.directories.map(({ path, header }) => [
    path,
    header.mode,
    header.uid,
    header.gid,
  ]);
  const text = JSON.stringify({ version: 1, directories, others: layer.others });
  await writeFileAtomically(recordPath(repo, digest), await promisify(zstdCompress)(text));
}

/** Of a layer that is wholly in the repository; undefined for every other, and for one whose record is damaged. */
export async function readLayerRecord(repo: string, digest: Digest): Promise<LayerDirectories | undefined> {
  if (!(await hasBranch(repo, layerRef(digest)))) return undefined;
  let packed: Buffer;
  try {
    packed = await readFile(recordPath(repo, digest));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
  const options = { maxOutputLength: MAX_RECORD_BYTES };
  const text = await promisify(zstdDecompress)(packed, options).catch(() => undefined);
  if (text === undefined) return undefined;
  const record = Record.safeParse(parseJson(text.toString()));
  if (!record.success) return undefined;
  const directories = record.data.directories.map(([path, mode, uid, gid]) => ({
    path,
    header: { mode, uid, gid },
  }));
  return { directories, others: record.data.others };
}

/** Whether a layer is in the repository, by the names of what is: nothing is read. */
export async function hasLayer(repo: string, digest: Digest): Promise<boolean> {
  if (!(await hasBranch(repo, layerRef(digest)))) return false;
  return (await stat(recordPath(repo, digest)).catch(() => undefined))?.isFile() === true;
}

/** By layer, of those that are wholly in the repository. */
export type LayerRecords = ReadonlyMap<Digest, LayerDirectories>;

const READ_AT_ONCE = 8;

/** Of those of `layers` that are wholly in the repository. */
export async function readLayerRecords(
  repo: string,
  layers: readonly { readonly digest: Digest }[],
): Promise<LayerRecords> {
  const limit = pLimit(READ_AT_ONCE);
  const digests = [...new Set(layers.map(({ digest }) => digest))];
  const records = await Promise.all(digests.map((digest) => limit(() => readLayerRecord(repo, digest))));
  return new Map(
    digests.flatMap((digest, index) => {
      const record = records[index];
      return record === undefined ? [] : [[digest, record]];
    }),
  );
}

/** Whether anything is remembered of layers other than these. */
export async function hasOtherRecords(repo: string, digests: ReadonlySet<Digest>): Promise<boolean> {
  return (await otherRecords(repo, digests)).length > 0;
}

/** Drops what is remembered of layers other than these. Their branches are the caller's to delete. */
export async function keepLayerRecords(repo: string, digests: ReadonlySet<Digest>): Promise<void> {
  for (const path of await otherRecords(repo, digests)) await rm(path, { force: true });
}

/** Paths, of whatever else lies there too. */
async function otherRecords(repo: string, digests: ReadonlySet<Digest>): Promise<readonly string[]> {
  const folder = recordsFolder(repo);
  const names = await readdir(folder).catch(() => []);
  return names
    .filter((name) => {
      const hex = NAME.exec(name)?.[1];
      return hex === undefined || !digests.has(`sha256:${hex}` as Digest);
    })
    .map((name) => join(folder, name));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
