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
} from './format.ts';
import { type PlainArchive, requireWanted } from './plain-archive.ts';
import { OldFiles, planPieces } from './plan-pieces.ts';
import { readRange } from './read-range.ts';

/** Layers that nodes have. */
export class OldLayers {
  readonly files = new OldFiles();
  readonly #paths = new Map<Digest, string>();

  /** @param layer of its blob */
  add(layer: Digest, archive: PlainArchive): void {
    this.files.add(layer, archive.files);
    this.#paths.set(layer, archive.path);
  }

  /** Of the layer's archive. */
  pathOf(layer: Digest): string {
    const path = this.#paths.get(layer);
    if (path === undefined) throw new TypeError(`${layer} was not added`);
    return path;
  }
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
/** With smaller tables, which level 12 has by itself, the beginning of a large dictionary is forgotten. */
const MAX_TABLE_LOG = 25;
/** zstd takes none smaller. */
const MIN_TABLE_LOG = 6;
const WINDOW_LOG = 27;
/** Each takes up to 450 MiB. */
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
  old: OldLayers,
  path: string,
  { maxBytes, signal }: MakeDeltaOptions,
): Promise<MadeDelta | undefined> {
  const pieces = planPieces(target.files, target.size, old.files);
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
  readonly old: OldLayers;
  readonly path: string;
}

/** Writes one frame behind the other. @returns the bytes of each; undefined when they are too many */
async function writeFrames(
  pieces: readonly Piece[],
  { target, old, path, maxBytes, signal }: FramesOptions,
): Promise<readonly number[] | undefined> {
  await using archives = new OpenArchives(target.path, old);
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
  const content = await archives.content(piece);
  const dictionary = await archives.dictionary(piece);
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

/** The new archive, and those of the old layers that are read. */
class OpenArchives implements AsyncDisposable {
  readonly #target: string;
  readonly #old: OldLayers;
  readonly #opened = new Map<string, Promise<FileHandle>>();

  constructor(target: string, old: OldLayers) {
    this.#target = target;
    this.#old = old;
  }

  async content({ offset, size }: Piece): Promise<Buffer> {
    const content = Buffer.allocUnsafe(size);
    await this.#read(this.#target, offset, content);
    return content;
  }

  /** As a node puts it together: none without sources. */
  async dictionary({ from }: Piece): Promise<Buffer> {
    if (from.length === 0) return Buffer.alloc(0);
    const total = from.reduce((sum, { size }) => sum + size, DICTIONARY_HEAD.length);
    const dictionary = Buffer.allocUnsafe(total);
    let at = DICTIONARY_HEAD.copy(dictionary);
    for (const { layer, begin, offset, size } of from) {
      await this.#read(this.#old.pathOf(layer), begin + offset, dictionary.subarray(at, at + size));
      at += size;
    }
    return dictionary;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const opened of await Promise.allSettled(this.#opened.values())) {
      if (opened.status === 'fulfilled') await opened.value.close();
    }
  }

  async #read(path: string, offset: number, into: Buffer): Promise<void> {
    let opening = this.#opened.get(path);
    if (opening === undefined) this.#opened.set(path, (opening = open(path)));
    if (!(await readRange(await opening, offset, into))) {
      throw new Error(`${path} became shorter while it was read`);
    }
  }
}
