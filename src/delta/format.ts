/**
 * The difference between a layer and files of layers that a node has, as a blob of its own; docs/deltas.md describes it.
 *
 *     "IDELTA1\n"  length of the index, 4 bytes, the low one first  |  index  |  piece  |  piece  | …
 *
 * The index and each piece are one zstd frame. The pieces, one behind the other, are the layer's plain archive. Each is
 * decompressed with what its sources hold, one behind the other, for a dictionary (RFC 8878, section 5, "content"
 * without a header): what is the same in old and new files is named and not sent.
 */
import * as z from 'zod';

import { type Digest, DigestText, isDigest } from '../digest.ts';

/** Of the artifact that is put beside an image. */
export const DELTA_ARTIFACT_TYPE = 'application/vnd.ingot.delta.v1';
/** Of the delta of one layer. */
export const LAYER_DELTA_MEDIA_TYPE = 'application/vnd.ingot.delta.layer.v1';

export const DELTA_ANNOTATIONS = {
  /** On the artifact: the image whose layers it takes files from. */
  fromImage: 'dev.ingot.delta.from',
  /** On a layer's delta: the blob that it stands for. */
  layer: 'dev.ingot.delta.layer',
  /** On a layer's delta: the blobs of the layers whose files it needs, separated by spaces. */
  sources: 'dev.ingot.delta.sources',
  /** On a layer's delta: bytes of the plain archive that it becomes. */
  size: 'dev.ingot.delta.size',
} as const;

export const MAGIC = Buffer.from('IDELTA1\n');
export const HEADER_BYTES = MAGIC.length + 4;

/** What a delta may ask of a node, beside the bounds of a piece. Of chunks, the largest index is a tenth of this. */
export const MAX_INDEX_BYTES = 8 * 1024 * 1024;
const MAX_SOURCES = 100_000;
const MAX_PIECES = 65_536;
const MAX_LAYERS = 1024;

/** Both bound what a node needs: a piece, its dictionary, and the copy that zstd makes of that. */
export const MAX_PIECE_BYTES = 16 * 1024 * 1024;
export const MAX_DICTIONARY_BYTES = 48 * 1024 * 1024;
/** Stands before the sources of a piece that has some: so nothing in a file is taken for the header of a dictionary. */
export const DICTIONARY_HEAD = Buffer.alloc(8);
/** Of a piece that is a frame of one segment, as they all are. */
export const MAX_WINDOW_LOG = 24;

/** Of a piece: index of the layer in `layers`, path in it without slashes at its ends, first byte, bytes. */
export type SourceEntry = readonly [layer: number, path: string, offset: number, size: number];

export interface PieceEntry {
  /** Bytes of the archive. */
  readonly size: number;
  /** Bytes of its frame. */
  readonly packed: number;
  readonly from: readonly SourceEntry[];
}

export interface DeltaIndex {
  readonly version: 1;
  readonly layers: readonly Digest[];
  readonly pieces: readonly PieceEntry[];
}

/** Undefined for what is no index, at the first mistake: whoever wrote it may have meant to keep us busy. */
export function parseIndex(value: unknown): DeltaIndex | undefined {
  if (!isRecord(value) || value['version'] !== 1) return undefined;
  const { layers, pieces } = value;
  if (!Array.isArray(layers) || layers.length > MAX_LAYERS) return undefined;
  if (!layers.every((layer) => typeof layer === 'string' && isDigest(layer))) return undefined;
  if (!Array.isArray(pieces) || pieces.length > MAX_PIECES) return undefined;
  let sources = 0;
  for (const piece of pieces as readonly unknown[]) {
    if (!isPiece(piece, layers.length)) return undefined;
    sources += piece.from.length;
    if (sources > MAX_SOURCES) return undefined;
  }
  return { version: 1, layers: layers, pieces: pieces as PieceEntry[] };
}

function isPiece(value: unknown, layers: number): value is PieceEntry {
  if (!isRecord(value)) return false;
  const { size, packed, from } = value;
  if (!isCount(size, 1) || size > MAX_PIECE_BYTES || !isCount(packed, 1)) return false;
  if (!Array.isArray(from)) return false;
  let bytes = 0;
  for (const source of from as readonly unknown[]) {
    if (!isSource(source, layers)) return false;
    bytes += source[3];
    if (bytes > MAX_DICTIONARY_BYTES) return false;
  }
  return true;
}

function isSource(value: unknown, layers: number): value is SourceEntry {
  if (!Array.isArray(value) || value.length !== 4) return false;
  const [layer, path, offset, size] = value as readonly unknown[];
  if (!isCount(layer, 0) || layer >= layers || typeof path !== 'string' || path === '') return false;
  return isCount(offset, 0) && isCount(size, 1);
}

function isCount(value: unknown, least: number): value is number {
  return Number.isSafeInteger(value) && (value as number) >= least;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A run of bytes of a file in a layer. */
export interface Source {
  /** Of the layer's blob. */
  readonly layer: Digest;
  /** In the layer, without slashes at its ends. */
  readonly path: string;
  readonly offset: number;
  readonly size: number;
  /** Where the file's content begins in the layer's archive. */
  readonly begin: number;
}

/** A run of bytes of the new archive, and what it is told in terms of. */
export interface Piece {
  readonly offset: number;
  readonly size: number;
  readonly from: readonly Source[];
}

/** The delta of one layer, as an image's delta lists it. */
export interface LayerDelta {
  /** Of the blob that it stands for. */
  readonly layer: Digest;
  readonly sources: readonly Digest[];
  /** Bytes of the plain archive. */
  readonly size: number;
}

export function annotationsOf({ layer, sources, size }: LayerDelta): Record<string, string> {
  return {
    [DELTA_ANNOTATIONS.layer]: layer,
    [DELTA_ANNOTATIONS.sources]: sources.join(' '),
    [DELTA_ANNOTATIONS.size]: `${size}`,
  };
}

const Annotated = z.object({
  [DELTA_ANNOTATIONS.layer]: DigestText,
  [DELTA_ANNOTATIONS.sources]: z
    .string()
    .transform((text) => text.split(' ').filter((word) => word !== ''))
    .pipe(z.array(DigestText)),
  [DELTA_ANNOTATIONS.size]: z
    .string()
    .regex(/^\d{1,15}$/)
    .transform(Number),
});

/** Undefined for what is no delta of this version. */
export function parseAnnotations(annotations: Readonly<Record<string, string>> = {}): LayerDelta | undefined {
  const parsed = Annotated.safeParse(annotations);
  if (!parsed.success) return undefined;
  const { data } = parsed;
  return {
    layer: data[DELTA_ANNOTATIONS.layer],
    sources: data[DELTA_ANNOTATIONS.sources],
    size: data[DELTA_ANNOTATIONS.size],
  };
}
