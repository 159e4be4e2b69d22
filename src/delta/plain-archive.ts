/** A layer's archive, decompressed into a file in which its own files can be found. */
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';

import { type Digest, digestOfHex } from '../digest.ts';
import { IngotError } from '../errors.ts';
import { TarParser } from '../oci/tar-parser.ts';
import type { ArchiveFile } from './plan-pieces.ts';

export interface PlainArchive {
  readonly path: string;
  /** Of the archive: the layer's diff ID. */
  readonly digest: Digest;
  readonly size: number;
  /** Those that have content, in the order of the archive. */
  readonly files: readonly ArchiveFile[];
}

/** As the parser tells pax's sparse files, whose names and sizes are told otherwise. */
const SPARSE = /(?:^|\/)GNUSparseFile\.\d+\//;

/** @throws Error about an archive that cannot be read, IngotError INTERRUPTED, and what `contents` throws */
export async function unpackArchive(
  contents: AsyncIterable<Buffer>,
  path: string,
  signal?: AbortSignal,
): Promise<PlainArchive> {
  const files = new Map<string, ArchiveFile>();
  const parser: TarParser = new TarParser((member) => {
    // Of a path that is there more than once, the last counts: who unpacks the archive has that one.
    files.delete(member.path);
    if (member.type === 'file' && member.size > 0 && !SPARSE.test(member.path)) {
      files.set(member.path, { path: member.path, offset: parser.contentAt, size: member.size });
    }
    return undefined;
  });
  const hash = createHash('sha256');
  const file = await open(path, 'wx');
  let size = 0;
  try {
    for await (const chunk of contents) {
      requireWanted(signal);
      parser.write(chunk);
      hash.update(chunk);
      await file.appendFile(chunk);
      size += chunk.length;
    }
  } finally {
    await file.close();
  }
  parser.end();
  return { path, digest: digestOfHex(hash.digest('hex')), size, files: [...files.values()] };
}

/** @throws IngotError INTERRUPTED */
export function requireWanted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw new IngotError('INTERRUPTED', 'interrupted while layers were compared');
}
