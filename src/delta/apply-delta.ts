/** The plain archive of a layer, from its delta and files of layers that are at hand. */
import { createHash } from 'node:crypto';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { promisify } from 'node:util';
import { constants, zstdDecompress, type ZstdOptions } from 'node:zlib';

import { type Digest, digestOfHex } from '../digest.ts';
import { errnoOf, IngotError } from '../errors.ts';
import {
  type DeltaIndex,
  DICTIONARY_HEAD,
  HEADER_BYTES,
  MAGIC,
  MAX_INDEX_BYTES,
  MAX_WINDOW_LOG,
  parseIndex,
  type PieceEntry,
} from './format.ts';
import { readRange } from './read-range.ts';

/** The archive as the image says it is. */
export interface WantedArchive {
  /** The layer's diff ID. */
  readonly digest: Digest;
  readonly size: number;
}

export interface ApplyDeltaOptions {
  /** A file of a layer that is at hand; undefined when there is no such file. Closed by the caller of this. */
  readonly openFile: (layer: Digest, path: string) => Promise<FileHandle | undefined>;
  readonly signal?: AbortSignal | undefined;
}

/** Of a frame, beyond what its content takes: the longest header, one for each block of 128 KiB, a checksum. */
const FRAME_SPARE_BYTES = 1024;
const OUTPUT_CHUNK_BYTES = 1024 * 1024;

/**
 * Writes the archive to a new file, which is there only when it is the one that is wanted.
 *
 * @param delta its file
 * @throws IngotError IMAGE_INVALID for what is no delta of that archive, NOT_FOUND when a file of an old layer is
 *   missing, DIGEST_MISMATCH when another archive comes of it, INTERRUPTED; and what the file system says
 */
export async function applyDelta(
  delta: string,
  wanted: WantedArchive,
  path: string,
  options: ApplyDeltaOptions,
): Promise<void> {
  await using file = await open(delta);
  const { index, begin } = await readIndex(file, delta);
  if (index.pieces.reduce((sum, { size }) => sum + size, 0) !== wanted.size) {
    throw invalid(delta, `does not make an archive of ${wanted.size} bytes`);
  }
  await using into = await open(path, 'wx');
  try {
    const hash = createHash('sha256');
    let at = begin;
    for (const piece of index.pieces) {
      if (options.signal?.aborted === true) {
        throw new IngotError('INTERRUPTED', 'interrupted while a layer was made of its delta');
      }
      if (piece.packed > piece.size + FRAME_SPARE_BYTES) throw invalid(delta, 'has a piece that is no frame');
      const frame = Buffer.allocUnsafe(piece.packed);
      if (!(await readRange(file, at, frame))) throw invalid(delta, 'ends early');
      const content = await unpackPiece(
        frame,
        piece.size,
        await readSources(piece.from, index, options),
        delta,
      );
      hash.update(content);
      await into.appendFile(content);
      at += piece.packed;
    }
    if (digestOfHex(hash.digest('hex')) !== wanted.digest) {
      throw new IngotError('DIGEST_MISMATCH', `the delta ${delta} does not make ${wanted.digest}`);
    }
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  }
}

async function readIndex(
  file: FileHandle,
  delta: string,
): Promise<{ readonly index: DeltaIndex; readonly begin: number }> {
  const header = Buffer.alloc(HEADER_BYTES);
  const isWhole = await readRange(file, 0, header);
  if (!isWhole || !header.subarray(0, MAGIC.length).equals(MAGIC)) throw invalid(delta, 'is none');
  const length = header.readUInt32LE(MAGIC.length);
  if (length > MAX_INDEX_BYTES) throw invalid(delta, 'has an index that is too long');
  const packed = Buffer.alloc(length);
  if (!(await readRange(file, HEADER_BYTES, packed))) throw invalid(delta, 'ends early');
  const index = parseIndex(await unpackJson(packed));
  if (index === undefined) throw invalid(delta, 'has an index that cannot be read');
  return { index, begin: HEADER_BYTES + length };
}

async function unpackJson(packed: Buffer): Promise<unknown> {
  try {
    const options = { maxOutputLength: MAX_INDEX_BYTES };
    return JSON.parse((await promisify(zstdDecompress)(packed, options)).toString());
  } catch {
    return undefined; // no frame, too long, no JSON
  }
}

/** The dictionary of a piece: none without sources. */
async function readSources(
  from: PieceEntry['from'],
  { layers }: DeltaIndex,
  { openFile }: ApplyDeltaOptions,
): Promise<Buffer> {
  if (from.length === 0) return Buffer.alloc(0);
  const total = from.reduce((sum, [, , , size]) => sum + size, DICTIONARY_HEAD.length);
  const dictionary = Buffer.allocUnsafe(total);
  let at = DICTIONARY_HEAD.copy(dictionary);
  for (const [number, path, offset, size] of from) {
    const layer = layers[number];
    const file = layer === undefined ? undefined : await openFile(layer, path);
    try {
      const isRead =
        file !== undefined && (await readRange(file, offset, dictionary.subarray(at, at + size)));
      if (!isRead)
        throw new IngotError('NOT_FOUND', `/${path} of the layer ${layer} is not what the delta takes`);
    } finally {
      await file?.close();
    }
    at += size;
  }
  return dictionary;
}

async function unpackPiece(frame: Buffer, size: number, dictionary: Buffer, delta: string): Promise<Buffer> {
  const options: ZstdOptions = {
    maxOutputLength: size,
    chunkSize: Math.max(64, Math.min(size, OUTPUT_CHUNK_BYTES)),
    params: { [constants.ZSTD_d_windowLogMax]: MAX_WINDOW_LOG },
    ...(dictionary.length > 0 && { dictionary }),
  };
  try {
    const content = await promisify<Buffer, ZstdOptions, Buffer>(zstdDecompress)(frame, options);
    if (content.length === size) return content;
  } catch (cause) {
    // Node's own, of data that is damaged or becomes too long.
    if (!/^(?:ZSTD_|ERR_)/.test(errnoOf(cause) ?? '')) throw cause;
  }
  throw invalid(delta, 'has a damaged piece');
}

function invalid(delta: string, what: string): IngotError {
  return new IngotError('IMAGE_INVALID', `the delta ${delta} ${what}`);
}
