/**
 * The difference between a layer and files of layers that a node has, as a blob of its own; docs/deltas.md describes it.
 *
 *     "IDELTA1\n"  length of the index, 4 bytes, the low one first  |  index  |  piece  |  piece  | …
 *
 * The index and each piece are one zstd frame. The pieces, one behind the other, are the layer's plain archive. Each is
 * decompressed with what its sources hold, one behind the other, for a dictionary (RFC 8878, section 5, "content"
 * without a header): what is the same in old and new files is named and not sent.
 */
import { z } from 'zod';

import { DigestText, type Digest } from '../digest.ts';

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
/** Unpacked. One with a hundred thousand files takes 20 MiB. */
export const MAX_INDEX_BYTES = 64 * 1024 * 1024;

/** Both bound what a node needs: a piece, its dictionary, and the copy that zstd makes of that. */
export const MAX_PIECE_BYTES = 16 * 1024 * 1024;
export const MAX_DICTIONARY_BYTES = 48 * 1024 * 1024;

const Count = z.int().nonnegative();

/** Bytes of a file that the node has. */
const SourceEntry = z.tuple([
  /** Index of its layer in `layers`. */
  Count,
  /** In the layer, without slashes at its ends. */
  z.string().min(1),
  /** First byte and bytes. */
  Count,
  Count,
]);

const PieceEntry = z.object({
  /** Bytes of the archive. */
  size: z.int().min(1).max(MAX_PIECE_BYTES),
  /** Bytes of its frame. */
  packed: z.int().min(1),
  from: z.array(SourceEntry),
});

export const DeltaIndex = z.object({
  version: z.literal(1),
  layers: z.array(DigestText),
  pieces: z.array(PieceEntry),
});
export type DeltaIndex = z.infer<typeof DeltaIndex>;

/** A run of bytes of a file in a layer. */
export interface Source {
  /** Of the layer's blob. */
  readonly layer: Digest;
  /** In the layer, without slashes at its ends. */
  readonly path: string;
  readonly offset: number;
  readonly size: number;
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
