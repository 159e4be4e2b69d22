/** Makes the delta of one layer. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { promisify } from 'node:util';
import { constants, type ZstdOptions, zstdCompress } from 'node:zlib';

import { type Digest, digestOfHex } from '../digest.ts';
import {
  type DeltaIndex,
  DICTIONARY_HEAD,
  HEADER_BYTES,
  MAGIC,
  MAX_INDEX_BYTES,
  type Piece,
  type Source,
} from './format.ts';
import { type PlainArchive, requireWanted } from './plain-archive.ts';
import { OldFiles, planPieces } from './plan-pieces.ts';
import { readRange } from './read-range.ts';

export interface OldLayer {
  /** Of its blob. */
  readonly digest: Digest;
  readonly archive: PlainArchive;
}

export interface MadeDelta {
  readonly path: string;
  readonly digest: Digest;
  readonly size: number;
  /** Blobs of the layers that it takes files from, sorted. */
  readonly sources: readonly Digest[];
}

export interface MakeDeltaOptions {
  /** One that takes more is given up. */
  readonly maxBytes: number;
  readonly signal?: AbortSignal | undefined;
}

/** As good as level 19 for what releases of one program have in common, in a tenth of its time. */
const LEVEL = 12;
/** Tables that hold every place of the largest dictionary and its piece: a smaller one forgets the dictionary's. */
const MAX_TABLE_LOG = 25;
/** zstd takes none smaller. */
const MIN_TABLE_LOG = 6;
const WINDOW_LOG = 27;
/** Each takes some 350 MiB. */
const MOST_AT_ONCE = 2;
const COPY_BYTES = 1024 * 1024;
/** Of an archive, in terms of old files: less is not worth packing. */
const LEAST_TOLD = 0.25;

/**
 * @param path of the file to write, which is not there yet
 * @returns undefined when it would take more than `maxBytes`, or shares too little with the old layers to take less
 * @throws IngotError INTERRUPTED; and what the file system says
 */
export async function makeDelta(
  target: PlainArchive,
  old: readonly OldLayer[],
  path: string,
  { maxBytes, signal }: MakeDeltaOptions,
): Promise<MadeDelta | undefined> {
  const oldFiles = new OldFiles();
  for (const { digest, archive } of old) oldFiles.add(digest, archive.files);
  const pieces = planPieces(target.files, target.size, oldFiles);
  const sources = [...new Set(pieces.flatMap(({ from }) => from.map(({ layer }) => layer)))].sort();
  // What has no sources is packed about as well as in the layer.
  const told = pieces.reduce((sum, { from, size }) => sum + (from.length === 0 ? 0 : size), 0);
  if (told < target.size * LEAST_TOLD) return undefined;
  const frames = `${path}.frames`;
  try {
    const packed = await writeFrames(pieces, { target, old, path: frames, maxBytes, signal });
    if (packed === undefined) return undefined;
    const text = renderIndex(pieces, packed, sources);
    if (Buffer.byteLength(text) > MAX_INDEX_BYTES) return undefined;
    const index = await promisify(zstdCompress)(text);
    const size = packed.reduce((sum, length) => sum + length, HEADER_BYTES + index.length);
    if (size > maxBytes) return undefined;
    const header = Buffer.alloc(HEADER_BYTES);
    MAGIC.copy(header);
    header.writeUInt32LE(index.length, MAGIC.length);
    const hash = createHash('sha256');
    const write = async (part: Buffer): Promise<void> => {
      hash.update(part);
      await file.appendFile(part);
    };
    await using file = await open(path, 'wx');
    await write(Buffer.concat([header, index]));
    for await (const chunk of createReadStream(frames, { highWaterMark: COPY_BYTES }))
      await write(chunk as Buffer);
    return { path, digest: digestOfHex(hash.digest('hex')), size, sources };
  } finally {
    await rm(frames, { force: true });
  }
}

interface FramesOptions extends MakeDeltaOptions {
  readonly target: PlainArchive;
  readonly old: readonly OldLayer[];
  readonly path: string;
}

/** Writes one frame behind the other. @returns the bytes of each; undefined when they are too many */
async function writeFrames(
  pieces: readonly Piece[],
  { target, old, path, maxBytes, signal }: FramesOptions,
): Promise<readonly number[] | undefined> {
  await using archives = await OpenArchives.open(target, old);
  await using file = await open(path, 'wx');
  const packed: number[] = [];
  let bytes = 0;
  const atOnce = Math.min(MOST_AT_ONCE, availableParallelism());
  for (let at = 0; at < pieces.length; at += atOnce) {
    requireWanted(signal);
    const frames = await Promise.all(
      pieces.slice(at, at + atOnce).map((piece) => packPiece(piece, archives)),
    );
    for (const frame of frames) {
      await file.appendFile(frame);
      packed.push(frame.length);
      bytes += frame.length;
    }
    if (bytes > maxBytes) return undefined;
  }
  return packed;
}

function renderIndex(pieces: readonly Piece[], packed: readonly number[], layers: readonly Digest[]): string {
  const index: DeltaIndex = {
    version: 1,
    layers,
    pieces: pieces.map(({ size, from }, number) => ({
      size,
      packed: packed[number] ?? 0,
      from: from.map((one) => [layers.indexOf(one.layer), one.path, one.offset, one.size] as const),
    })),
  };
  return JSON.stringify(index);
}

async function packPiece(piece: Piece, archives: OpenArchives): Promise<Buffer> {
  const content = await archives.target(piece);
  const sources = await Promise.all(piece.from.map((source) => archives.source(source)));
  const dictionary = sources.length === 0 ? Buffer.alloc(0) : Buffer.concat([DICTIONARY_HEAD, ...sources]);
  const places = Math.ceil(Math.log2(content.length + dictionary.length));
  const tableLog = Math.max(MIN_TABLE_LOG, Math.min(MAX_TABLE_LOG, places));
  const options: ZstdOptions = {
    params: {
      [constants.ZSTD_c_compressionLevel]: LEVEL,
      [constants.ZSTD_c_windowLog]: WINDOW_LOG,
      [constants.ZSTD_c_hashLog]: tableLog,
      [constants.ZSTD_c_chainLog]: tableLog,
    },
    pledgedSrcSize: content.length,
    ...(dictionary.length > 0 && { dictionary }),
  };
  return await promisify<Buffer, ZstdOptions, Buffer>(zstdCompress)(content, options);
}

interface OpenArchive {
  readonly file: FileHandle;
  /** Where the content of a file begins, by its path. */
  readonly begins: ReadonlyMap<string, number>;
}

class OpenArchives implements AsyncDisposable {
  readonly #target: FileHandle;
  readonly #old: ReadonlyMap<Digest, OpenArchive>;

  private constructor(target: FileHandle, old: ReadonlyMap<Digest, OpenArchive>) {
    this.#target = target;
    this.#old = old;
  }

  static async open(target: PlainArchive, old: readonly OldLayer[]): Promise<OpenArchives> {
    await using opened = new AsyncDisposableStack();
    const file = opened.use(await open(target.path));
    const archives = new Map<Digest, OpenArchive>();
    for (const { digest, archive } of old) {
      const begins = new Map(archive.files.map(({ path, offset }) => [path, offset]));
      archives.set(digest, { file: opened.use(await open(archive.path)), begins });
    }
    opened.move(); // closed with what is returned
    return new OpenArchives(file, archives);
  }

  async target({ offset, size }: Piece): Promise<Buffer> {
    return await contentOf(this.#target, offset, size);
  }

  async source({ layer, path, offset, size }: Source): Promise<Buffer> {
    const archive = this.#old.get(layer);
    const begin = archive?.begins.get(path);
    if (archive === undefined || begin === undefined) throw new TypeError(`${path} is not in ${layer}`);
    return await contentOf(archive.file, begin + offset, size);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#target.close();
    for (const { file } of this.#old.values()) await file.close();
  }
}

async function contentOf(file: FileHandle, offset: number, size: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(size);
  if (await readRange(file, offset, bytes)) return bytes;
  throw new Error('an archive became shorter while it was read');
}
