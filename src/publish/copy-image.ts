/**
 * An image from one place to others: the blobs that are not there, then the documents, children first, then what
 * refers to the image (signatures and the like), and the names last. So a name never leads to something that is not
 * there, and a copy that was cut short and begun again sends only what is missing.
 */
import pLimit from 'p-limit';

import { type Digest, hexOf } from '../digest.ts';
import { IngotError } from '../errors.ts';
import { type ImageGraph, readGraphFrom, readImageGraph } from '../oci/image-graph.ts';
import {
  type ImageSource,
  type ImageTarget,
  lentBlob,
  type ManifestDocument,
} from '../oci/image-transfer.ts';
import type { Descriptor } from '../oci/schema.ts';
import { formatBytes } from '../report/format.ts';
import type { Reporter, Stage } from '../report/events.ts';

export interface CopyOptions {
  readonly source: ImageSource;
  /** What the source is asked for. */
  readonly reference: string | undefined;
  readonly target: ImageTarget;
  /** Tags, or names in a layout. */
  readonly names: readonly string[];
  /** Takes along what refers to the image. Default: true. */
  readonly withReferrers?: boolean;
  /** Runs when all is there and before a name leads to it: what refers to it can be put beside it. */
  readonly beforeNamed?: ((root: ManifestDocument) => Promise<void>) | undefined;
  readonly reporter: Reporter;
  readonly signal?: AbortSignal | undefined;
}

export interface CopiedImage {
  readonly digest: Digest;
  readonly mediaType: string;
  /** Bytes of all blobs. */
  readonly bytes: number;
  readonly blobs: number;
  /** Blobs that were sent, and their bytes; the others were there or were taken over from a sibling repository. */
  readonly sent: number;
  readonly sentBytes: number;
  readonly mounted: number;
  /** Digests of what refers to the image and was taken along. */
  readonly referrers: readonly Digest[];
}

/** A document that belongs to an image without being in it. */
interface Related {
  readonly graph: ImageGraph;
  /** cosign's older form names them; the newer one refers by its content. */
  readonly name: string | undefined;
}

/** A stage of its own is worth it for blobs of this size. */
const SHOWN_BYTES = 256 * 1024;
const COSIGN_SUFFIXES = ['sig', 'att', 'sbom'] as const;
const MAX_RELATED = 256;

/** @throws IngotError NOT_FOUND, IMAGE_INVALID, DIGEST_MISMATCH, and what source and target throw */
export async function copyImage(options: CopyOptions): Promise<CopiedImage> {
  const { source, target, names, reporter, signal } = options;
  const graph = await readImageGraph(source, options.reference, { signal });
  const related = options.withReferrers === false ? [] : await readRelated(graph, options);
  const blobs = new Map(
    [graph, ...related.map((one) => one.graph)].flatMap((one) =>
      one.blobs.map((blob) => [blob.digest, blob] as const),
    ),
  );
  const copied = await reporter.stage(`Copy to ${target.shown}`, async (stage) => {
    const result = await new BlobCopier(options, [...blobs.values()], stage).run();
    for (const document of graph.documents.slice(0, -1)) await target.putManifest(document, [], { signal });
    const { beforeNamed } = options;
    if (related.length > 0 || beforeNamed !== undefined) await target.putManifest(graph.root, [], { signal });
    for (const { graph: belonging, name } of related) {
      for (const document of belonging.documents.slice(0, -1))
        await target.putManifest(document, [], { signal });
      await target.putManifest(belonging.root, name === undefined ? [] : [name], { signal });
    }
    await beforeNamed?.(graph.root);
    await target.putManifest(graph.root, names, { signal });
    await target.finish({ signal });
    if (result.sent === 0) stage.cached('everything was there');
    else stage.detail(`${formatBytes(result.sentBytes)} of ${formatBytes(result.bytes)} sent`);
    return result;
  });
  const { digest, mediaType } = graph.root.descriptor;
  return { digest, mediaType, ...copied, referrers: related.map((one) => one.graph.root.descriptor.digest) };
}

/** Of the image and everything in it; what refers to a signature is taken along too. */
async function readRelated(
  graph: ImageGraph,
  { source, reporter, signal }: CopyOptions,
): Promise<readonly Related[]> {
  const found = new Map<Digest, Related>();
  const seen = new Set(graph.documents.map((document) => document.descriptor.digest));
  // All of a generation at once: each answer takes the way to the registry and back.
  for (let subjects: readonly Digest[] = [...seen]; subjects.length > 0;) {
    const generation = await Promise.all(subjects.map((subject) => askForRelated(subject, source, signal)));
    const next: Digest[] = [];
    for (const { subject, referrers, attachments } of generation) {
      for (const descriptor of referrers) {
        if (seen.has(descriptor.digest)) continue;
        seen.add(descriptor.digest);
        if (seen.size > MAX_RELATED + graph.documents.length) {
          throw new IngotError(
            'IMAGE_INVALID',
            `${source.shown}: more than ${MAX_RELATED} documents refer to it`,
          );
        }
        const document = await ifThere(source.manifest(descriptor, { signal }));
        // Deleting a referrer leaves it in the fallback index, which is a list that clients keep.
        if (document === undefined) {
          reporter.warning(
            `${source.shown} lists ${descriptor.digest}, which is gone, as referring to ${subject}`,
          );
          continue;
        }
        found.set(descriptor.digest, {
          graph: await readGraphFrom(source, document, { signal }),
          name: undefined,
        });
        next.push(descriptor.digest);
      }
      for (const { name, document } of attachments) {
        if (document === undefined) continue;
        found.set(document.descriptor.digest, {
          graph: await readGraphFrom(source, document, { signal }),
          name,
        });
      }
    }
    subjects = next;
  }
  return [...found.values()];
}

async function askForRelated(
  subject: Digest,
  source: ImageSource,
  signal: AbortSignal | undefined,
): Promise<{
  readonly subject: Digest;
  readonly referrers: readonly Descriptor[];
  readonly attachments: readonly { readonly name: string; readonly document: ManifestDocument | undefined }[];
}> {
  const names = COSIGN_SUFFIXES.map((suffix) => `sha256-${hexOf(subject)}.${suffix}`);
  const [referrers, attachments] = await Promise.all([
    source.referrers(subject, { signal }),
    Promise.all(
      names.map(async (name) => ({ name, document: await ifThere(source.manifest(name, { signal })) })),
    ),
  ]);
  return { subject, referrers, attachments };
}

async function ifThere(document: Promise<ManifestDocument>): Promise<ManifestDocument | undefined> {
  try {
    return await document;
  } catch (error) {
    if (error instanceof IngotError && error.code === 'NOT_FOUND') return undefined;
    throw error;
  }
}

class BlobCopier {
  readonly #options: CopyOptions;
  readonly #blobs: readonly Descriptor[];
  readonly #stage: Stage;
  /** Bytes of each blob that are at the target. */
  readonly #done = new Map<Digest, number>();
  readonly #total: number;
  #moved = 0;
  #sent = 0;
  #sentBytes = 0;
  #mounted = 0;

  constructor(options: CopyOptions, blobs: readonly Descriptor[], stage: Stage) {
    this.#options = options;
    this.#blobs = blobs;
    this.#stage = stage;
    this.#total = blobs.reduce((sum, { size }) => sum + size, 0);
  }

  async run(): Promise<Pick<CopiedImage, 'bytes' | 'blobs' | 'sent' | 'sentBytes' | 'mounted'>> {
    const { source, target, signal } = this.#options;
    await using _expected = await source.expect?.(this.#blobs, { signal });
    // One failure ends the others; all are waited for before it goes on.
    const failure = new AbortController();
    const both = signal === undefined ? failure.signal : AbortSignal.any([signal, failure.signal]);
    const limit = pLimit(target.parallel);
    // The largest first: one that came last would be on its way alone. What takes one at a time gets them in order.
    const order = target.parallel > 1 ? this.#blobs.toSorted((a, b) => b.size - a.size) : this.#blobs;
    await Promise.allSettled(
      order.map((blob) =>
        limit(async () => {
          if (both.aborted) return;
          try {
            await this.#copy(blob, both);
          } catch (error) {
            failure.abort(error); // the first one's reason stays
          }
        }),
      ),
    );
    if (failure.signal.aborted) throw failure.signal.reason;
    if (signal?.aborted === true) throw new IngotError('INTERRUPTED', 'interrupted while copying');
    return {
      bytes: this.#total,
      blobs: this.#blobs.length,
      sent: this.#sent,
      sentBytes: this.#sentBytes,
      mounted: this.#mounted,
    };
  }

  async #copy(blob: Descriptor, signal: AbortSignal): Promise<void> {
    const { source, target, reporter } = this.#options;
    if (await target.hasBlob(blob, { signal })) {
      this.#progress(blob, blob.size);
      return;
    }
    if (await target.mountBlob(blob, source, { signal })) {
      this.#mounted += 1;
      this.#progress(blob, blob.size);
      return;
    }
    const { blobFile } = source;
    const send = async (stage?: Stage): Promise<void> => {
      const onProgress = (bytes: number): void => {
        stage?.progress(bytes, blob.size, 'bytes');
        this.#progress(blob, bytes);
      };
      const content = {
        open: (offset: number) =>
          offset === 0 ? lentBlob(source, blob, { signal }) : contentFrom(source, blob, offset, signal),
        ...(blobFile !== undefined && { file: () => blobFile(blob, { signal, onProgress }) }),
      };
      await target.putBlob(blob, content, { signal, onProgress });
    };
    if (blob.size < SHOWN_BYTES) await send();
    else await reporter.stage(`Copy ${titleOf(blob)}`, send);
    this.#sent += 1;
    this.#sentBytes += blob.size;
    this.#progress(blob, blob.size);
  }

  #progress({ digest }: Descriptor, bytes: number): void {
    this.#moved += bytes - (this.#done.get(digest) ?? 0);
    this.#done.set(digest, bytes);
    this.#stage.progress(this.#moved, this.#total, 'bytes');
  }
}

/** From the middle of a blob on. It is read from its beginning, so that it is verified as a whole. */
async function* contentFrom(
  source: ImageSource,
  blob: Descriptor,
  offset: number,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  let at = 0;
  for await (const chunk of lentBlob(source, blob, { signal })) {
    const skipped = Math.min(Math.max(0, offset - at), chunk.length);
    at += chunk.length;
    if (skipped < chunk.length) yield chunk.subarray(skipped);
  }
}

function titleOf({ digest, annotations = {} }: Descriptor): string {
  const name = [annotations['dev.ingot.layer'], annotations['dev.ingot.chunk']].filter(Boolean).join('/');
  return name === '' ? digest.slice(7, 19) : `${name} ${digest.slice(7, 19)}`;
}
