/**
 * Where images come from and go to. Registries, layouts and archives implement these two interfaces, so that copy,
 * push, pull and whatever reads an image are one code path.
 *
 * Whatever a source gives is verified: documents before they are returned, blobs at their last byte.
 */
import type { Digest } from '../digest.ts';
import type { Descriptor } from './schema.ts';

/** A manifest or an index: the very bytes that its digest is of. */
export interface ManifestDocument {
  readonly descriptor: Descriptor;
  readonly bytes: Buffer;
}

export interface TransferOptions {
  readonly signal?: AbortSignal | undefined;
}

export interface BlobOptions extends TransferOptions {
  /** Go on where an earlier transfer ended. */
  readonly resume?: Resumption | undefined;
}

export interface Resumption {
  readonly offset: number;
  /** Has seen the bytes before `offset`. */
  readonly hash: BlobHash;
}

/** SHA-256 of a blob, as it streams by or of where its receiver puts it. */
export interface BlobHash {
  /** Told all bytes in their order. */
  update(data: Buffer): unknown;
  /** In hex, once the receiver has all. */
  digest(encoding: 'hex'): string | Promise<string>;
}

export interface ImageSource extends AsyncDisposable {
  /** As messages name it: no credentials in it. */
  readonly shown: string;
  /**
   * The manifest or index of a tag, a name, a digest or a descriptor; without one, the only image there is.
   *
   * @throws IngotError NOT_FOUND; DIGEST_MISMATCH when it is not what was asked for
   */
  manifest(reference: string | Descriptor | undefined, options?: TransferOptions): Promise<ManifestDocument>;
  /**
   * The bytes of a blob. The last step throws when they are not what the descriptor says.
   *
   * @throws IngotError NOT_FOUND, DIGEST_MISMATCH
   */
  blob(descriptor: Descriptor, options?: BlobOptions): AsyncIterable<Buffer>;
  /** The same, where sources have it in batches. A batch is the caller's until it asks for the next, and no longer. */
  readonly blobBatches?: (descriptor: Descriptor, options?: BlobOptions) => AsyncIterable<readonly Buffer[]>;
  /** Manifests that name `subject` as theirs, such as signatures. */
  referrers(subject: Digest, options?: TransferOptions): Promise<readonly Descriptor[]>;
  /** Where it helps to know before the first: the blobs that will be asked for. Held by the caller until it has them. */
  readonly expect?: (blobs: readonly Descriptor[], options?: TransferOptions) => Promise<AsyncDisposable>;
  /** Where sources have blobs as files, verified: the path of one. */
  readonly blobFile?: ((descriptor: Descriptor, options?: PutBlobOptions) => Promise<string>) | undefined;
}

/** A blob on its way into a target. */
export interface BlobContent {
  /**
   * The bytes from `offset` on; from 0 they are verified. A chunk is the target's until it asks for the next. May be
   * called again after a failure.
   */
  readonly open: (offset: number) => AsyncIterable<Buffer>;
  /** A file with the verified blob, where there is one or one can be made. */
  readonly file?: (() => Promise<string>) | undefined;
}

export interface PutBlobOptions extends TransferOptions {
  /** Told the bytes moved so far; goes back when a part must be sent again. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
}

/** A blob chunk by chunk, each the caller's until it asks for the next. */
export async function* lentBlob(
  source: ImageSource,
  descriptor: Descriptor,
  options: BlobOptions,
): AsyncGenerator<Buffer> {
  if (source.blobBatches === undefined) yield* source.blob(descriptor, options);
  else for await (const batch of source.blobBatches(descriptor, options)) yield* batch;
}

export interface ImageTarget extends AsyncDisposable {
  readonly shown: string;
  /** How many blobs may be put at once. */
  readonly parallel: number;
  hasBlob(descriptor: Descriptor, options?: TransferOptions): Promise<boolean>;
  hasManifest(descriptor: Descriptor, options?: TransferOptions): Promise<boolean>;
  /** Takes a blob over from another repository of the same registry, without sending it. */
  mountBlob(descriptor: Descriptor, from: ImageSource, options?: TransferOptions): Promise<boolean>;
  putBlob(descriptor: Descriptor, content: BlobContent, options?: PutBlobOptions): Promise<void>;
  /** Puts a manifest whose blobs and children are there, under its digest, and under each of the names. */
  putManifest(document: ManifestDocument, names: readonly string[], options?: TransferOptions): Promise<void>;
  /** Makes all that was put count. What was not finished leaves nothing behind. */
  finish(options?: TransferOptions): Promise<void>;
}
